"""The JSON constraint over schemas of JSONSchemaBench, where that data is there."""

from __future__ import annotations

import json
import random
from pathlib import Path

import jsonschema
import pytest

from ragdecode.decoding.constraints.json import Json, JsonSettings
from ragdecode.decoding.grammar.json_schema import schema_problem
from ragdecode.decoding.request import Sampling
from tests.decoding.engines import decode
from tests.decoding.grammar_world import END, TOKENS, VOCAB, engine, request, vocabulary

DATA = Path(__file__).parents[3] / "shared" / "data" / "jsonschemabench" / "data.jsonl"
pytestmark = pytest.mark.skipif(not DATA.is_file(), reason="JSONSchemaBench is not on this machine")

#: Share of the bench's schemas that compile; the others are refused, with the name of what they ask for.
SUPPORTED = 337


def rows() -> list[dict]:
    return [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]


def supported(every: int) -> list[dict]:
    return [row for row in rows()[::every] if schema_problem(row["schema"]) is None]


def validator(schema):
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema)


def test_how_many_schemas_compile():
    problems = [schema_problem(row["schema"]) for row in rows()]
    assert sum(problem is None for problem in problems) >= SUPPORTED
    assert all(len(problem.message) > 8 for problem in problems if problem is not None)


def test_valid_data_is_accepted_and_invalid_data_rejected():
    judged = {True: 0, False: 0}
    for row in supported(9):
        part = Json(JsonSettings(schema=row["schema"]))
        for case in row["tests"]:
            text = json.dumps(case["data"], separators=(",", ":"), ensure_ascii=False)
            one = part.start(request("bench"), VOCAB)
            # where text is forced, masks allow the tokenizer's own reading alone: the parser itself judges here
            ids = vocabulary().read(text.encode("utf-8", "surrogatepass"))
            taken = one._parser.try_consume_tokens(ids)
            assert (taken == len(ids) and one._parser.is_accepting()) == case["valid"], (row["id"], case)
            judged[case["valid"]] += 1
    assert judged[True] > 30
    assert judged[False] > 50


def test_random_walks_through_the_masks_write_valid_json():
    closing = {TOKENS.index(bytes([byte])) for byte in b'"}]'}
    done = 0
    for place, row in enumerate(supported(7)):
        one = Json(JsonSettings(schema=row["schema"])).start(request("walk"), VOCAB)
        rng, state, written = random.Random(place), one.start(), []
        for _ in range(500):
            allowed = [token for token, forbidden in enumerate(one.mask(state).tolist()) if not forbidden]
            assert allowed, (row["id"], vocabulary().write(written))
            token = END if END in allowed else rng.choice([*closing & {*allowed}] or allowed)
            if token == END:
                break
            state = one.advance(state, token)
            written.append(token)
        else:
            continue
        found = json.loads(vocabulary().write(written).decode())
        assert not list(validator(row["schema"]).iter_errors(found)), (row["id"], found)
        done += 1
    assert done > 40


def test_engines_write_valid_json_in_one_batch():
    chosen = [row for row in supported(11) if len(json.dumps(row["schema"])) < 900][:6]
    asked = [
        request(
            row["id"],
            constraints=[Json(JsonSettings(schema=row["schema"]))],
            sampling=Sampling(temperature=1.0, seed=3),
            max_new_tokens=90,
        )
        for row in chosen
    ]
    results = decode(engine(max_batch=6), *asked)
    assert any(results[row["id"]].finish_reason == "stop" for row in chosen)
    for row in chosen:
        result = results[row["id"]]
        assert result.finish_reason in ("stop", "length")
        if result.finish_reason == "stop":
            assert not list(validator(row["schema"]).iter_errors(json.loads(result.text)))
