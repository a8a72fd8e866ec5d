"""Verdicts of a monitor beside the sentences of an answer: in the record, in the stream, for people."""

from __future__ import annotations

import logging

import pytest

from ragdecode.cli.answer_view import show_verdicts
from ragdecode.decoding import events as engine
from ragdecode.errors import SpecError
from ragdecode.pipeline.answer import EvidenceRange
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from tests.pipeline import tiny_app
from tests.pipeline.test_citations import TEXT, done, stream

QUESTION = "How many arches has the bridge?"
WORDS = {"align": {"lexical": {"encoder": None}}}


def watching(**settings):
    return {
        "monitor": {"syncheck": WORDS | settings},
        "max_new_tokens": 40,
        "sampling": {"temperature": 1.0, "seed": 3},
    }


def test_sentences_of_the_record_and_of_the_stream_carry_the_same_verdicts(make):
    events = list(make(watching(), search=True).stream(QUESTION))
    answer = events[-1].answer
    told = [event.sentence for event in events if event.kind == "sentence"]
    assert told == list(answer.sentences)
    assert told
    scores = [one.faithfulness for one in told]
    assert any(score is not None for score in scores)
    record = answer.to_json()
    assert [one["faithfulness"] for one in record["sentences"]] == scores
    assert record["stats"]["monitors"]["syncheck"]["aggregator"] == "unsupervised"
    known = {passage.id: passage.text for passage in answer.passages}
    for sentence in answer.sentences:
        assert set(sentence.supported_by) == {one.passage for one in sentence.evidence}
        assert all(known[one.passage][one.start : one.end].strip() for one in sentence.evidence)


def test_the_answer_is_the_one_without_a_monitor(make):
    watched = make(watching(hold="sentence"), search=True).ask(QUESTION)
    alone = make(watching() | {"monitor": []}, search=True).ask(QUESTION)
    assert watched.token_ids == alone.token_ids


def test_without_evidence_the_record_says_why_there_is_no_score(make):
    answer = make(watching()).ask(QUESTION)
    assert answer.sentences
    assert all(one.faithfulness is None and one.faithful is None for one in answer.sentences)
    assert any("could not be scored: no evidence" in note for note in answer.notes)


def test_decode_lines_are_watched_too(make):
    line = DecodeRequest(id="a", question=QUESTION, passages=[Passage.of("The bridge has 12 arches.", 1)])
    (decoded,) = make(watching()).decode([line])
    assert decoded.result.monitors["syncheck"]["sentences"]


def test_a_machine_without_an_encoder_compares_words_and_says_so(make, caplog):
    with caplog.at_level(logging.WARNING):
        answer = make({"monitor": "syncheck", "max_new_tokens": 24}, search=True).ask(QUESTION)
    assert "no sentence encoder" in caplog.text
    assert all("cosine" not in one["parts"] for one in answer.monitors["syncheck"]["sentences"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"threshold": 1.5}, "expected at most 1.0"),
        ({"without": "other"}, "the view 'other', which is not declared"),
        ({"aggregator": "unsupervized"}, "unsupervised"),
        ({"align": {"lexikal": {}}}, "lexical"),
        ({"hold": "word"}, "sentence"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(app, settings, expected):
    file = tiny_app.write_pipeline(app, "bad", decode={"monitor": {"syncheck": settings}})
    with pytest.raises(SpecError) as error:
        Pipeline.load(file)
    assert expected in str(error.value)
    assert "decode.monitor" in str(error.value)


def verdict(text: str, faithfulness: float | None, **changes):
    start = TEXT.index(text)
    return {
        "text": text,
        "start": start,
        "end": start + len(text),
        "faithfulness": faithfulness,
        "faithful": None if faithfulness is None else faithfulness > 0.5,
        "supported_by": ["a"],
        "evidence": [{"passage": "a", "start": 0, "end": 1}],
        "unscored": "" if faithfulness is not None else "no words",
    } | changes


def test_a_verdict_of_withdrawn_text_is_not_that_of_what_stands_there_now():
    following = stream(cited=False)
    following.follow(engine.VerdictEvent("r", "syncheck", verdict("Paris is big.", 0.1)))
    following.follow(engine.VerdictEvent("r", "syncheck", verdict("Paris is big.", 0.9)))
    record = engine.TokenEvent("r", None, TEXT)
    sentences = [event.sentence for event in following.follow(record) if event.kind == "sentence"]
    assert sentences[0].faithfulness == 0.9
    assert sentences[0].evidence == (EvidenceRange("a", 0, 1),)
    assert sentences[1].faithfulness is None


def test_people_see_score_verdict_and_sources(capsys):
    (event,) = [one for one in stream(cited=False).follow(done(TEXT)) if one.kind == "done"]
    show_verdicts(event.answer)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.strip().splitlines()[1:]
    assert lines == [
        "0.90  yes [2][1]   Paris is big.",
        "0.90  yes [3]      It lies on the Seine.",
        "0.90  yes -        Nobody knows.",
    ]


def test_people_see_nothing_without_a_monitor(make, capsys):
    show_verdicts(make().ask(QUESTION))
    assert capsys.readouterr().out == ""
