"""The JSON Schema agrees with the loader."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from ragdecode.spec.catalogue import catalogue_root, names
from ragdecode.spec.dump import plain
from ragdecode.spec.json_schema import json_schema
from ragdecode.spec.load import load_document
from ragdecode.spec.reference import FOLDERS


def validator(kind):
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


#: Made for one model and corpus by a command: the catalogue ships none.
_USERS_OWN = {"tunings", "diagnoses"}


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_catalogues_files_are_valid_as_written_and_as_resolved(kind):
    check = validator(kind)
    assert names(kind) or kind in _USERS_OWN
    for name in names(kind):
        path = catalogue_root() / FOLDERS[kind] / f"{name}.yaml"
        assert list(check.iter_errors(YAML(typ="safe").load(path))) == []
        assert list(check.iter_errors(plain(load_document(kind, name).spec))) == []


@pytest.mark.parametrize(
    "text",
    [
        "model: a",
        "{model: a, decode: cad}",
        "{model: a, decode: {rule: cad}}",
        "{model: a, decode: {rule: [cad, {reads: }]}}",
        "{model: a, decode: {draft: null, rule: {cad: {alpha: 1}}}}",
        "{model: a, retrieve: mine, index: mine}",
        "{model: a, retrieve: [mine, {rerank: {top_k: 3}}], index: {corpus: {path: x}, stores: bm25}}",
        "{model: {source: {hub: {repo: a/b, token: '${ENV:X}'}}}}",
        "{model: a, retrieve: {wide: {by: likelihood, fuse: rrf, inner: [bm25]}}}",
    ],
)
def test_what_is_right_is_valid(text):
    assert list(validator("pipelines").iter_errors(YAML(typ="safe").load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "model: 5",
        "model: ../x",
        "{model: a, promt: x}",
        "{model: a, decode: {rule: cda}}",
        "{model: a, decode: {rule: {cad: {alpa: 1}}}}",
        "{model: a, decode: {rule: {cad: {alpha: 99}}}}",
        "{model: a, decode: {rule: {cad: {}, alpha: 1}}}",
        "{model: a, decode: {max_new_tokens: x}}",
        "{model: a, engine: {dtype: float23}}",
        "{model: a, index: {corpus: {}}}",
        "{model: a, index: {corpus: {path: x}, stores: [nope]}}",
        "{model: a, retrieve: [{hybrid: {fuse: {rff: {}}}}]}",
    ],
)
def test_what_is_wrong_is_not(text):
    assert list(validator("pipelines").iter_errors(YAML(typ="safe").load(text))) != []


def test_editors_see_names_with_descriptions():
    schema = json_schema("pipelines")
    model = schema["properties"]["model"]
    assert model["description"] == "The language model."
    assert "smollm2-135m" in model["anyOf"][0]["examples"]
    rules = schema["$defs"]["rule"]["anyOf"]
    named = {arm["const"]: arm["description"] for arm in rules if "const" in arm}
    assert named["cad"].startswith("Context-aware decoding")
    cad = next(arm for arm in rules if arm.get("required") == ["cad"])
    assert schema["$defs"]["CadSettings"]["properties"]["alpha"]["maximum"] == 10
    assert {"$ref": "#/$defs/CadSettings"} in cad["properties"]["cad"]["anyOf"]


def test_every_reference_has_a_definition_and_every_definition_is_used():
    for kind in FOLDERS:
        schema = json_schema(kind)
        text = json.dumps(schema)
        used = set(re.findall(r'"#/\$defs/([^"]+)"', text))
        assert used == set(schema["$defs"])
        assert "x-ragdecode" not in text
