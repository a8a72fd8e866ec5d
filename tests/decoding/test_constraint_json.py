"""The JSON constraint: masks against all valid texts, drafts, trees, and schemas with faults."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import product

import jsonschema
import pytest

from ragdecode.decoding.constraints.json import Json, JsonSettings
from ragdecode.decoding.constraints.require import Require, RequireSettings
from ragdecode.decoding.request import Sampling
from ragdecode.errors import InputError
from tests.decoding.engines import decode
from tests.decoding.grammar_world import END, TOKENS, VOCAB, NoisyDrafter, engine, request

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def constraint(schema, **settings) -> Json:
    return Json(JsonSettings(schema=schema, **settings))


def session(schema, **settings):
    return constraint(schema, **settings).start(request("any"), VOCAB)


def allowed(one, state) -> set[int]:
    return {token for token, forbidden in enumerate(one.mask(state).tolist()) if not forbidden}


def texts_of_finite() -> list[str]:
    """All texts of {"ab": "red"|12, "in"?: [true|null, ...up to 2]}, compact."""
    items = ["[]", *(f"[{one}]" for one in ("true", "null"))]
    items += [f"[{one},{two}]" for one, two in product(("true", "null"), repeat=2)]
    return [
        '{"ab":' + value + tail + "}"
        for value in ('"red"', "12")
        for tail in ("", *(f',"in":{item}' for item in items))
    ]


FINITE = {
    "type": "object",
    "properties": {
        "ab": {"enum": ["red", 12]},
        "in": {"type": "array", "items": {"enum": [True, None]}, "maxItems": 2},
    },
    "required": ["ab"],
    "additionalProperties": False,
}


def test_masks_are_those_of_the_set_of_all_valid_texts():
    one, texts = session(FINITE), [text.encode() for text in texts_of_finite()]
    seen = 0
    for seed in range(12):
        rng, state, written = random.Random(seed), one.start(), b""
        for _ in range(80):
            fits = {
                id_ for id_, token in enumerate(TOKENS) if token and any(t.startswith(written + token) for t in texts)
            }
            mine = allowed(one, state)
            assert mine - {END} <= fits, "nothing is allowed that leads nowhere"
            assert (END in mine) == (written in texts)
            # where the next bytes are forced, the tokenizer's own reading of them is enough
            nexts = {t[len(written)] for t in texts if t.startswith(written) and len(t) > len(written)}
            assert mine - {END} == fits or (len(nexts) == 1 and mine)
            seen += 1
            choices = sorted(mine)
            token = rng.choice(choices)
            if token == END:
                break
            state, written = one.advance(state, token), written + TOKENS[token]
        assert written in texts
    assert seen > 60


def test_states_are_values_in_whatever_order_they_are_asked():
    one = session(PERSON)
    rng = random.Random(3)
    states, masks = [one.start()], {}
    paths = {0: []}
    for _ in range(150):
        at = rng.randrange(len(states))
        fine = sorted(allowed(one, states[at]) - {END})
        if not fine:
            continue
        token = rng.choice(fine)
        paths[len(states)] = [*paths[at], token]
        states.append(one.advance(states[at], token))
    for at in rng.sample(range(len(states)), len(states)):
        masks[at] = allowed(one, states[at])
    for at, path in paths.items():
        fresh = session(PERSON)
        state = fresh.start()
        for token in path:
            state = fresh.advance(state, token)
        assert masks[at] == allowed(fresh, state)


def test_what_follows_an_end_is_forbidden_and_harmless():
    one = session({"const": 1})
    state = one.advance(one.start(), TOKENS.index(b"1"))
    assert allowed(one, state) == {END}
    assert allowed(one, one.advance(one.advance(state, END), 7)) == set()
    assert allowed(one, one.start()) == {TOKENS.index(b"1")}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("whitespace", ["compact", "spaced", "flexible"])
def test_answers_are_valid_and_drafts_change_nothing(temperature, whitespace):
    schema = {**PERSON, "properties": {**PERSON["properties"], "name": {"enum": ["ab", "the", "é"]}}}
    part = constraint(schema, whitespace=whitespace)
    asked = [
        request(f"{whitespace}{seed}", constraints=[part], sampling=Sampling(temperature=temperature, seed=seed))
        for seed in range(4)
    ]
    plain = decode(engine(), *asked)
    drafted = decode(
        engine(max_batch=3),
        *(replace(item, drafters=[NoisyDrafter(plain[item.id].tokens, 5)]) for item in asked),
    )
    alone = {item.id: decode(engine(), item)[item.id] for item in asked[:2]}
    ended = 0
    for name, result in plain.items():
        assert drafted[name].tokens == result.tokens
        assert drafted[name].finish_reason == result.finish_reason
        if name in alone:
            assert alone[name].tokens == result.tokens
        if result.finish_reason == "stop":
            ended += 1
            found = json.loads(result.text)
            jsonschema.validate(found, schema)
            if whitespace != "flexible":
                separators = (",", ":") if whitespace == "compact" else (", ", ": ")
                assert result.text == json.dumps(found, separators=separators, ensure_ascii=False)
        else:
            assert result.finish_reason == "length"
            assert len(result.tokens) == 120
    assert ended >= 2
    assert sum(drafted[name].stats.accepted for name in plain) > 10


def test_an_answer_that_is_cut_says_so():
    result = decode(engine(), request("cut", constraints=[constraint(PERSON)], max_new_tokens=3))["cut"]
    assert result.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.text)


def test_without_an_end_token_a_complete_answer_ends_by_the_constraint():
    asked = request("none", constraints=[constraint({"const": {"name": 12}})], end_tokens=frozenset())
    result = decode(engine(), asked)["none"]
    assert (result.text, result.finish_reason) == ('{"name":12}', "constraint")


def test_it_does_not_act_beside_what_could_leave_it_nothing():
    beside = Require(RequireSettings(phrases=("the",)))
    with pytest.raises(InputError, match="json and require cannot go together"):
        engine().submit(request("both", constraints=[constraint(PERSON), beside]))
    with pytest.raises(InputError, match="vocabulary"):
        engine().submit(request("bytes", constraints=[constraint(PERSON)], vocabulary=None))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {}}, "'not'"),
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "'uniqueItems'"),
        ({"type": "strng"}, "strng"),
        ({"type": "string", "format": "colour"}, "colour"),
        ({"$ref": "#/definitions/gone"}, "/definitions/gone"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "one_of_as_any_of"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
    ],
)
def test_what_a_schema_asks_in_vain_is_named(schema, said):
    with pytest.raises(ValueError, match=said):
        JsonSettings(schema=schema)


def test_one_of_can_be_taken_as_any_of():
    schema = {"oneOf": [{"type": "integer"}, {"type": "number"}]}
    assert JsonSettings(schema=schema, one_of_as_any_of=True).json_schema == schema
