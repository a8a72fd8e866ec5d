"""Secrets come from the environment and are never shown."""

from __future__ import annotations

import json
import pickle

import pytest

from ragdecode.errors import SpecError
from ragdecode.spec.dump import plain, to_yaml
from ragdecode.spec.explanation import explanation
from ragdecode.spec.load import load_pipeline

VALUE = "s3cr3t-value"
PIPELINE = "model: {source: {hub: {repo: a/b, token: '${ENV:RAGDECODE_TEST_TOKEN}'}}}\n"


@pytest.fixture
def loaded(app, monkeypatch):
    monkeypatch.setenv("RAGDECODE_TEST_TOKEN", VALUE)
    app.write({"pipelines/p.yaml": PIPELINE})
    return load_pipeline("p")


def test_the_value_is_there_for_who_asks(loaded):
    assert loaded.spec.model.source.hub.token.get_secret_value() == VALUE


def test_it_is_shown_nowhere(loaded):
    spec = loaded.spec
    shown = [repr(spec), str(spec), to_yaml(spec), json.dumps(explanation(loaded)), spec.model_dump_json()]
    shown += [str(spec.model_dump()), str(plain(spec)), f"{spec.model.source.hub.token}"]
    assert not [text for text in shown if VALUE in text]


def test_what_is_dumped_can_be_loaded_again(loaded, app):
    app.write({"pipelines/q.yaml": to_yaml(loaded.spec)})
    again = load_pipeline("q").spec
    assert again == loaded.spec
    assert again.model.source.hub.token.get_secret_value() == VALUE


def test_errors_beside_it_do_not_show_it(app, monkeypatch):
    monkeypatch.setenv("RAGDECODE_TEST_TOKEN", VALUE)
    app.write({"pipelines/p.yaml": PIPELINE.replace("repo: a/b", "repo: 5, revison: x")})
    with pytest.raises(SpecError) as caught:
        load_pipeline("p", ["model.source.hub.token.x=1"])
    assert len(caught.value.problems) == 3
    assert VALUE not in str(caught.value)


def test_a_literal_secret_is_masked(app):
    app.write({"pipelines/p.yaml": PIPELINE.replace("${ENV:RAGDECODE_TEST_TOKEN}", VALUE)})
    spec = load_pipeline("p").spec
    assert VALUE not in to_yaml(spec) + repr(spec)
    with pytest.raises(SpecError) as caught:
        load_pipeline("p", [f"model.source.hub.token={{a: {VALUE}}}"])
    assert VALUE not in str(caught.value)


def test_an_empty_variable_is_a_missing_one(app, monkeypatch):
    monkeypatch.setenv("RAGDECODE_TEST_TOKEN", "")
    app.write({"pipelines/p.yaml": PIPELINE})
    with pytest.raises(SpecError, match="RAGDECODE_TEST_TOKEN is not set"):
        load_pipeline("p")


def test_the_mark_survives_comparison_and_copies(loaded):
    token = loaded.spec.model.source.hub.token
    assert str(token) == "${ENV:RAGDECODE_TEST_TOKEN}"
    assert token == pickle.loads(pickle.dumps(token))


def test_a_dumped_one_is_read_from_the_environment_again(loaded, monkeypatch):
    dumped = json.loads(loaded.spec.model_dump_json())
    assert dumped["model"]["source"]["hub"]["token"] == "${ENV:RAGDECODE_TEST_TOKEN}"
    assert type(loaded.spec).model_validate(dumped).model.source.hub.token.get_secret_value() == VALUE
    monkeypatch.delenv("RAGDECODE_TEST_TOKEN")
    again = type(loaded.spec).model_validate(dumped).model.source.hub.token
    assert (again.get_secret_value(), str(again)) == ("", "${ENV:RAGDECODE_TEST_TOKEN}")
