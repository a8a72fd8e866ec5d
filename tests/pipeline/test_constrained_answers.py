"""Constraints and extraction from YAML to the answer's record."""

from __future__ import annotations

import json

import jsonschema
import pytest

from ragdecode.errors import SpecError
from ragdecode.pipeline.events import DoneEvent, TokenEvent
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.load import load_pipeline
from tests.pipeline import tiny_app

TEXTS = ["The bridge of Tollin has 12 arches.", "It was built in 1889 by Mr. Aven."]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Aven", "Tollin"]}, "year": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "year"],
    "additionalProperties": False,
}


def test_json_from_a_file_beside_the_pipeline(make):
    pipeline = make({"constraint": {"json": {"schema": SCHEMA}}, "draft": "ngram", "max_new_tokens": 80})
    answers = [pipeline.ask("Who built it?", passages=TEXTS), *pipeline.batch(["Who?", "When?"])]
    for answer in answers:
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.answer), SCHEMA)
    assert "quotes" not in answers[0].to_json()


def test_quotes_are_told_with_the_ids_of_the_passages(make):
    pipeline = make({"constraint": {"quote": {"free": False, "at_most": 2}}, "max_new_tokens": 60})
    answer = pipeline.ask("Who built it?", passages=[{"text": TEXTS[0], "id": "one"}, {"text": TEXTS[1], "id": "two"}])
    quotes = answer.to_json()["quotes"]
    assert quotes
    texts = {passage.id: passage.text for passage in answer.passages}
    for quote in quotes:
        assert answer.answer[quote["start"] : quote["end"]] == quote["text"]
        if quote["closed"]:
            assert texts[quote["passage"]][quote["passage_start"] : quote["passage_end"]] == quote["text"]
    (line,) = pipeline.decode([DecodeRequest("a", question="Who?", passages=answer.passages)])
    assert line.to_json()["quotes"]


def test_extraction_answers_with_a_span_of_a_passage(make):
    pipeline = make({"search": {"extract": {"top": 3}}, "max_new_tokens": 30})
    events = list(pipeline.stream("Who built it?", passages=TEXTS))
    answer = events[-1].answer
    assert isinstance(events[-1], DoneEvent)
    assert "".join(event.text for event in events if isinstance(event, TokenEvent)) == answer.answer
    assert any(answer.answer in text for text in TEXTS)
    record = answer.to_json()["search"]
    assert record["exact"]
    assert len(record["spans"]) == 3
    assert record["spans"][0]["text"] == answer.answer
    assert pipeline.ask("Who built it?", passages=TEXTS).answer == answer.answer
    both = pipeline.batch(["Who built it?", "Who built it?"])
    assert both[0].answer == both[1].answer == ""
    assert any("no passage" in note for note in both[0].notes)


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        ({"search": "extract", "draft": "ngram"}, "'ngram' has nothing to act on"),
        ({"search": "extract", "sampling": {"temperature": 0.5}}, "nothing is sampled"),
        ({"constraint": [{"json": {"schema": SCHEMA}}, "quote"]}, "'json' and 'quote' cannot go together"),
        ({"constraint": {"json": {"schema": {"properties": {"a": {"not": {}}}}}}}, "schema.properties.a.not"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path, decode, said):
    root = tmp_path / "app"
    (root / "pipelines").mkdir(parents=True)
    (root / "model").mkdir()
    with pytest.raises(SpecError) as caught:
        load_pipeline(tiny_app.write_pipeline(root, "p", decode=decode))
    assert said in str(caught.value)
    assert "p.yaml:1" in str(caught.value)


def test_the_line_of_a_fault_in_a_schema_file_is_named(tmp_path):
    root = tmp_path / "app"
    (root / "pipelines").mkdir(parents=True)
    (root / "model").mkdir()
    file = root / "pipelines" / "answer.json"
    file.write_text('{\n "type": "object",\n "properties": {\n  "a": {"uniqueItems": true}\n }\n}\n')
    decode = {"constraint": {"json": {"schema": "answer.json"}}}
    with pytest.raises(SpecError, match=r"answer\.json:4: not supported: 'uniqueItems'"):
        load_pipeline(tiny_app.write_pipeline(root, "p", decode=decode))
    file.write_text('{\n "type": "object",\n}')
    with pytest.raises(SpecError, match=r"answer\.json:3: this is no JSON"):
        load_pipeline(tiny_app.write_pipeline(root, "p", decode=decode))


def test_citations_need_a_monitor_that_attributes(tmp_path):
    root = tmp_path / "app"
    (root / "pipelines").mkdir(parents=True)
    (root / "model").mkdir()
    with pytest.raises(SpecError, match="which passages support a sentence"):
        load_pipeline(tiny_app.write_pipeline(root, "p", answer={"citations": True}))
