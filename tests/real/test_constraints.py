"""Constraints and extraction with real weights."""

from __future__ import annotations

import json

import jsonschema
import pytest

from ragdecode.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.real

PASSAGES = ["Lyon lies on the Rhône.", "France is a country in Europe. Its capital is Paris, a city on the Seine."]
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 40}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}
QUESTION = "What is the capital of France?"


def ask(*settings: str, draft: bool = True):
    more = [f"decode.draft={'prompt_lookup' if draft else '[]'}", "decode.governor=off", "decode.rule=[]"]
    with Pipeline.load("plain", [*more, *settings]) as pipeline:
        return pipeline.ask(QUESTION, passages=PASSAGES)


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_json_validates_and_drafts_do_not_change_it(temperature):
    settings = [
        f"decode.constraint.json.schema={json.dumps(SCHEMA)}",
        f"decode.sampling.temperature={temperature}",
        "decode.max_new_tokens=48",
    ]
    drafted, plain = ask(*settings), ask(*settings, draft=False)
    assert drafted.token_ids == plain.token_ids
    assert drafted.finish_reason == "stop"
    jsonschema.validate(json.loads(drafted.answer), SCHEMA)


def test_an_answer_of_quotes_alone_is_word_for_word():
    answer = ask("decode.constraint.quote.free=false", "decode.constraint.quote.at_most=1", "decode.max_new_tokens=40")
    (quote,) = answer.to_json()["quotes"]
    assert answer.answer == f"“{quote['text']}”"
    source = PASSAGES[int(quote["passage"][1:]) - 1]
    assert source[quote["passage_start"] : quote["passage_end"]] == quote["text"]


def test_extraction_beats_what_greedy_decoding_finds_among_spans():
    answer = ask("decode.search.extract.top=5", "decode.max_new_tokens=24", draft=False)
    spans = answer.to_json()["search"]["spans"]
    assert [span["logprob"] for span in spans] == sorted((span["logprob"] for span in spans), reverse=True)
    assert answer.answer in " ".join(PASSAGES)
