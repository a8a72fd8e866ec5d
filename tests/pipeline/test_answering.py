"""From the engine's events to those of a pipeline."""

from __future__ import annotations

import jsonschema
import pytest

from ragdecode.decoding import events as engine
from ragdecode.decoding.request import TARGET, Alternative, Request, Result, Stats, TokenRecord, View
from ragdecode.pipeline.answer import Seconds
from ragdecode.pipeline.answering import AnswerStream
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.preparing import Prepared
from ragdecode.pipeline.prompts import Prompt

NUMBER, WHOLE, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}


def closed(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SECONDS = closed(load=NUMBER, retrieve=NUMBER, prefill=NUMBER, decode=NUMBER)
STATS = closed(
    prompt_tokens=WHOLE,
    new_tokens=WHOLE,
    steps=WHOLE,
    forward_rows=WHOLE,
    mean_accepted=NUMBER,
    seconds=SECONDS,
    tokens_per_second=NUMBER,
) | {"additionalProperties": True}
SENTENCE = closed(
    text=TEXT,
    start=WHOLE,
    end=WHOLE,
    faithfulness={"type": ["number", "null"]},
    faithful={"type": ["boolean", "null"]},
    supported_by={"type": "array", "items": TEXT},
    evidence={"type": "array", "items": closed(passage=TEXT, start=WHOLE, end=WHOLE)},
)
#: the object that `ask --json` promises
ANSWER = closed(
    question=TEXT,
    answer=TEXT,
    finish_reason={"enum": ["stop", "length", "monitor", "constraint"]},
    passages={"type": "array", "items": closed(id=TEXT, source=TEXT, text=TEXT, score=NUMBER, rank=WHOLE)},
    sentences={"type": "array", "items": SENTENCE},
    stats=STATS,
    pipeline=TEXT,
    notes={"type": "array", "items": TEXT},
)


def record(position, token):
    alternative = Alternative(token + 100, -2.0, {TARGET: -2.0})
    return TokenRecord(position, token, -0.5, {TARGET: -0.5}, "model", {TARGET: 300}, (alternative,))


@pytest.fixture
def stream():
    request = Request("r", {TARGET: View([1, 2])})
    passage = Passage("p1", "a.md", "Evidence.", 1.5, 1)
    prepared = Prepared(request, {TARGET: Prompt("prompt", [1, 2])}, "Why?", (passage,), ("a note",))
    return AnswerStream(prepared, lambda token: f"<{token}>", "app", "decode[plain]", Seconds(1.0, 2.0))


def finish(text, tokens=(1, 2), **stats):
    records = [record(place, token) for place, token in enumerate(tokens)]
    result = Result(
        "r", list(tokens), text, "stop", records, Stats(**stats), {"signals": {"mean": 1}}, ("engine note",)
    )
    return engine.DoneEvent("r", result)


def follow(stream, *events):
    return [told for event in events for told in stream.follow(event)]


def test_tokens_sentences_and_the_record_come_in_order(stream):
    pieces = ["One is", " here. ", "Two", " is ", "there."]
    tokens = [engine.TokenEvent("r", record(place, place), text) for place, text in enumerate(pieces)]
    told = follow(stream, *tokens, finish("".join(pieces)))
    assert [event.kind for event in told] == ["token"] * 4 + ["sentence", "token", "sentence", "done"]
    assert [event.sentence.text for event in told if event.kind == "sentence"] == ["One is here.", "Two is there."]
    assert "".join(event.text for event in told if event.kind == "token") == told[-1].answer.answer


def test_a_retraction_withdraws_its_sentences(stream):
    told = follow(
        stream,
        engine.TokenEvent("r", record(0, 0), "One is here. Two is false. Three is"),
        engine.ActionEvent("r", "watch", "rewind", {"why": "two"}),
        engine.RetractEvent("r", 3, 13),
        engine.TokenEvent("r", record(1, 1), "Two is true."),
        finish("One is here. Two is true."),
    )
    assert [event.kind for event in told] == [
        "token",
        "sentence",
        "sentence",
        "action",
        "retract",
        "token",
        "sentence",
        "done",
    ]
    assert told[3].to_json() == {"event": "action", "monitor": "watch", "action": "rewind", "detail": {"why": "two"}}
    assert told[4].characters == 13
    assert [item.text for item in told[-1].answer.sentences] == ["One is here.", "Two is true."]


def test_text_that_the_end_takes_back_or_adds_is_told(stream):
    told = follow(stream, engine.TokenEvent("r", record(0, 0), "One. Two"), finish("One. Tea."))
    assert [event.kind for event in told] == ["token", "retract", "token", "sentence", "sentence", "done"]
    assert told[1].characters == 6
    assert told[2].text == "ea."


def test_the_record_is_the_promised_object(stream):
    (done,) = follow(stream, finish("", tokens=()))
    jsonschema.validate(done.answer.to_json(), ANSWER)
    stream_two = follow(
        stream, finish("One. Two.", new_tokens=2, steps=1, committed=3, prefill_seconds=0.5, decode_seconds=1.5)
    )
    answer = stream_two[-1].answer
    data = answer.to_json()
    jsonschema.validate(data, ANSWER)
    assert data["stats"]["seconds"] == {"load": 1.0, "retrieve": 2.0, "prefill": 0.5, "decode": 1.5}
    assert data["stats"]["tokens_per_second"] == 1.0  # prefill counted in, loading and retrieval not
    assert data["stats"]["mean_accepted"] == 3.0
    assert data["stats"]["monitors"] == {"signals": {"mean": 1}}
    assert data["notes"] == ["a note", "engine note"]
    unjudged = {"faithfulness": None, "faithful": None, "supported_by": [], "evidence": []}
    assert data["sentences"][1] == {"text": "Two.", "start": 5, "end": 9, **unjudged}
    assert answer.prompts == {TARGET: "prompt"}


def test_every_token_that_a_trace_shows_has_its_text(stream):
    answer = follow(stream, finish("x", tokens=(1, 2)))[-1].answer
    assert answer.token_texts == {token: f"<{token}>" for token in (1, 2, 101, 102, 300)}
