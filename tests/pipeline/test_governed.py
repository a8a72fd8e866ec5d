"""`draft: auto`, `governor` and the measured step costs of a pipeline, from YAML to the cache folder."""

from __future__ import annotations

import json

import pytest

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.speculation.governor import FixedTree
from ragdecode.decoding.speculation.governor_throughput import Throughput
from ragdecode.decoding.speculation.governor_ucb import Bandit
from ragdecode.errors import SpecError
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.spec.explanation import explanation
from ragdecode.spec.load import load_pipeline
from tests.pipeline import tiny_app

EVIDENCE = ["The bridge has nine arches.", "The river is long and wide and long and wide."]


def governor(pipeline):
    return pipeline._models.engine._engine._governor


@pytest.mark.parametrize(
    ("decode", "kind"),
    [
        ({"draft": "prompt_lookup", "governor": "throughput"}, Throughput),
        ({"draft": "prompt_lookup", "governor": "ucb"}, Bandit),
        ({"draft": "prompt_lookup", "governor": "off"}, FixedTree),
        ({"draft": "prompt_lookup", "governor": "throughput", "max_draft_nodes": 1}, FixedTree),
        ({"governor": "throughput"}, FixedTree),
    ],
)
def test_the_named_governor_runs_and_tokens_stay(make, tmp_path, decode, kind):
    plain = make({"max_new_tokens": 20}).ask("Why?", passages=EVIDENCE)
    pipeline = make({"max_new_tokens": 20, **decode})
    assert pipeline.ask("Why?", passages=EVIDENCE).token_ids == plain.token_ids
    assert type(governor(pipeline)) is kind
    measured = list((tmp_path / "cache" / "steps").glob("*.json"))
    assert len(measured) == (kind is not FixedTree)


def test_steps_are_measured_once_and_it_is_said(app, tmp_path, monkeypatch):
    decode = {"draft": "prompt_lookup", "max_new_tokens": 6}
    file, said = tiny_app.write_pipeline(app, "governed", decode=decode), []
    for _ in range(2):
        pipeline = Pipeline.load(file, progress=lambda stage, done, total: said.append(stage))
        pipeline.ask("Why?", passages=EVIDENCE)
        pipeline.close()
    assert said.count("measuring step costs of tiny, once") == 1
    (table,) = (tmp_path / "cache" / "steps").iterdir()
    assert json.loads(table.read_text())["key"]["model"]

    def fail(*args, **kwargs):
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr("ragdecode.decoding.speculation.calibration.measure", fail)
        pipeline = Pipeline.load(file)
        pipeline.ask("Why?", passages=EVIDENCE)
        pipeline.close()
    table.write_bytes(b"\x00 damaged")
    pipeline = Pipeline.load(file)
    assert pipeline.ask("Why?", passages=EVIDENCE).token_ids
    pipeline.close()
    assert json.loads(table.read_text())["format"]


def test_an_interrupt_while_measuring_leaves_a_pipeline_that_can_be_asked_again(app, tmp_path, monkeypatch):
    file = tiny_app.write_pipeline(app, "governed", decode={"draft": "prompt_lookup", "max_new_tokens": 6})
    pipeline = Pipeline.load(file)
    forward, count = LlamaBackend.forward, 0

    def interrupted(self, *args, **kwargs):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaBackend, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.ask("Why?", passages=EVIDENCE)
    assert not (tmp_path / "cache" / "steps").exists()
    assert pipeline.ask("Why?", passages=EVIDENCE).token_ids
    pipeline.close()


def names(spec):
    return [part.name for part in spec.decode.draft]


def test_auto_stands_for_all_drafters_that_need_no_model(app):
    loaded = load_pipeline(tiny_app.write_pipeline(app, "auto", decode={"draft": "auto"}))
    free = ["prompt_lookup", "recycling", "ngram", "quantized"]
    assert names(loaded.spec) == free
    for part in loaded.spec.decode.draft:
        assert set(part.build().views) <= {"with_context"}  # the target's own row, no further one
        assert not part.build().declares
    assert loaded.spec.decode.draft[-1].settings.otherwise == "idle"
    facts = explanation(loaded)
    assert facts["step"]["automatic"] == free
    assert facts["headline"] == f"decode[{' + '.join(free)}]"


@pytest.mark.parametrize(
    ("decode", "light"),
    [
        ({"rule": "cad"}, True),
        ({"rule": {"transfer": {"from": "rag"}}, "views": {"rag": {"passages": {"top_k": 1}}}}, True),
        ({"rule": {"transfer": {"from": "rag"}}, "views": {"rag": {"model": "smollm2-135m"}}}, False),
    ],
)
def test_auto_takes_the_4_bit_copy_under_rules_that_it_can_follow(app, decode, light):
    loaded = load_pipeline(tiny_app.write_pipeline(app, "ruled", decode={**decode, "draft": "auto"}))
    assert names(loaded.spec) == ["prompt_lookup", "recycling", "ngram", *(["quantized"] if light else [])]


def test_auto_takes_the_datastore_of_an_index_that_has_one(app):
    index = {"corpus": {"path": "../docs"}, "stores": ["bm25"]}
    settings = {"decode": {"draft": "auto"}, "retrieve": [{"bm25": {"top_k": 2}}]}
    without = load_pipeline(tiny_app.write_pipeline(app, "p1", **settings, index=index)).spec
    assert "datastore" not in names(without)
    within = load_pipeline(
        tiny_app.write_pipeline(app, "p2", **settings, index={**index, "stores": ["bm25", "tokens"]})
    ).spec
    assert "datastore" in names(within)
    only = {"decode": {"draft": "auto"}, "index": {**index, "stores": ["tokens"]}}
    assert "datastore" in names(load_pipeline(tiny_app.write_pipeline(app, "p3", **only)).spec)


def test_auto_leaves_the_settings_of_those_that_are_named(app):
    draft = [{"prompt_lookup": {"branches": 1}}, "auto"]
    loaded = load_pipeline(tiny_app.write_pipeline(app, "p", decode={"draft": draft}))
    assert names(loaded.spec).count("prompt_lookup") == 1
    assert loaded.spec.decode.draft[0].settings.branches == 1
    assert "prompt_lookup" not in loaded.automatic
    with pytest.raises(SpecError, match="stands twice"):
        load_pipeline(tiny_app.write_pipeline(app, "q", decode={"draft": ["auto", "auto"]}))


def test_auto_drafts_and_changes_no_token(make):
    plain = make({"max_new_tokens": 30}).ask("Why?", passages=EVIDENCE)
    drafted = make({"max_new_tokens": 30, "draft": "auto"}).ask("Why?", passages=EVIDENCE)
    assert drafted.token_ids == plain.token_ids
    assert set(drafted.stats.asked) >= {"prompt_lookup", "recycling"}
    assert drafted.stats.nodes == drafted.stats.drafted + drafted.stats.steps
    told = drafted.to_json()["stats"]
    assert (told["nodes"], told["asked"]) == (drafted.stats.nodes, drafted.stats.asked)
    assert 0 < told["draft_seconds"] < 60


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"max_draft_nodes": 0}, r"max_draft_nodes.*at least 1"),
        ({"governor": "best"}, r"governor.*throughput.*ucb.*off"),
        ({"draft": {"auto": {"size": 3}}}, "size"),
    ],
)
def test_what_cannot_be_is_refused_at_load(app, decode, message):
    with pytest.raises(SpecError, match=message):
        load_pipeline(tiny_app.write_pipeline(app, "p", decode=decode))
