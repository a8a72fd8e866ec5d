"""What is done about unsupported sentences, declared in YAML: the record, the stream, refusals."""

from __future__ import annotations

import pytest

from ragdecode.errors import SpecError
from ragdecode.pipeline.request import DecodeRequest

QUESTION = "How many arches has the bridge?"
WORDS = {"align": {"lexical": {"encoder": None}}}


def acting(on_unfaithful, **settings):
    watch = WORDS | {"threshold": 1.0, "on_unfaithful": on_unfaithful} | settings
    return {
        "rule": {"cad": {"alpha": 0.5}},
        "monitor": {"syncheck": watch},
        "max_new_tokens": 40,
        "sampling": {"temperature": 1.0, "seed": 3},
    }


def shown(events) -> str:
    text = ""
    for event in events:
        if event.kind == "token":
            text += event.text
        elif event.kind == "retract":
            text = text[: event.characters]
    return text


@pytest.mark.parametrize("hold", ["none", "sentence"])
def test_an_answer_that_abstains_says_so_everywhere(make, hold):
    events = list(make(acting({"abstain": {"text": "It is not in there."}}, hold=hold), search=True).stream(QUESTION))
    answer = events[-1].answer
    assert answer.answer == shown(events) == "It is not in there."
    assert answer.finish_reason == "monitor"
    assert [event.action for event in events if event.kind == "action"] == ["abstain"]
    record = answer.to_json()
    assert record["stats"]["monitors"]["syncheck"]["abstained"] is True
    assert record["stats"]["monitors"]["syncheck"]["asked"][0]["action"] == "abstain"
    assert [(one["text"], one["faithfulness"]) for one in record["sentences"]] == [("It is not in there.", None)]
    assert any("abstained" in note for note in record["notes"])
    if hold == "sentence":
        assert not any(event.kind == "retract" for event in events)


def test_an_answer_without_passages_abstains(make):
    assert make(acting("abstain")).ask(QUESTION).answer == "The passages do not hold the answer."
    (decoded,) = make(acting("abstain")).decode([DecodeRequest(id="a", question=QUESTION)])
    assert decoded.text == "The passages do not hold the answer."


def test_a_sentence_is_written_again_as_often_as_is_said(make):
    events = list(make(acting({"rewind": {"factor": 3.0, "tries": 2, "then": "stop"}}), search=True).stream(QUESTION))
    told = [(event.action, event.detail.get("overrides")) for event in events if event.kind == "action"]
    assert told == [("rewind", {"cad.alpha": 1.5}), ("rewind", {"cad.alpha": 4.5}), ("stop", None)]
    assert events[-1].answer.finish_reason == "monitor"
    assert shown(events) == events[-1].answer.answer


@pytest.mark.parametrize("rewrite", [True, False])
def test_more_is_retrieved_with_the_sentence(make, rewrite):
    settings = {"retrieve": {"query": "question_and_sentence", "rewrite": rewrite, "times": 1, "then": "flag"}}
    for seed in range(12):  # at its end an answer does not go on under new evidence
        decode = acting(settings) | {"max_new_tokens": 80, "sampling": {"temperature": 1.0, "seed": seed}}
        pipeline = make(decode, search=True, retrieve=[{"bm25": {"top_k": 1}}])
        events = list(pipeline.stream(QUESTION))
        answer = events[-1].answer
        first = next(event for event in events if event.kind == "action")
        if rewrite or first.action == "retrieve":
            break
    assert first.action == "retrieve"
    assert first.detail["query"] == f"{QUESTION} {first.detail['text']}"
    assert any(note.startswith("retrieved again") for note in answer.notes)
    assert shown(events) == answer.answer
    assert (first.detail["text"] in answer.answer) or rewrite


def test_lines_whose_passages_come_with_them_do_what_comes_then(make):
    line = DecodeRequest(id="a", question=QUESTION, passages=())
    pipeline = make(acting({"retrieve": {"then": {"abstain": {"text": "No."}}}}), search=True)
    (decoded,) = pipeline.decode([line])
    assert decoded.text == "No."


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        (acting("retrieve"), "would retrieve, and the pipeline has no 'retrieve'"),
        (acting({"rewind": {"then": "retrieve"}}), "would retrieve, and the pipeline has no 'retrieve'"),
        (acting("rewind") | {"rule": [], "sampling": {}}, "would write the same sentence again"),
        (acting({"rewind": {"then": "abstain"}}) | {"constraint": {"json": {}}}, "the constraint json promises JSON"),
        (acting("rewnd"), "did you mean 'rewind'"),
        (acting({"abstain": {"text": ""}}), "text"),
        (acting({"rewind": {"factor": 0.5}}), "factor"),
        (acting("rewind") | {"search": "fod"}, "syncheck would rewind"),
    ],
)
def test_refusals_name_the_place(make, decode, expected):
    with pytest.raises(SpecError) as refused:
        make(decode)
    assert expected in str(refused.value)
    assert "syncheck" in str(refused.value)


def test_a_search_that_finds_nothing_says_so(make):
    search = {"fod": {"tau_start": 1.0, "tau_prune": 1.0, "samples": 3, "abstention": "Not in there."}}
    decode = acting("flag") | {"search": search}
    events = list(make(decode, search=True).stream(QUESTION))
    answer = events[-1].answer
    assert answer.answer == shown(events) == "Not in there."
    assert answer.search["abstained"] is True
    assert answer.finish_reason == "monitor"
    assert any("fod abstained" in note for note in answer.notes)
