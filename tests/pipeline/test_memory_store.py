"""Indexes with a memory, built for pipelines and from the command line with the model that decodes."""

from __future__ import annotations

import numpy as np
import pytest

from ragdecode.errors import InputError
from ragdecode.indexing.index import open_index
from ragdecode.indexing.location import index_path
from ragdecode.spec.load import load_pipeline
from tests.cli.index_app import Commands
from tests.pipeline.tiny_app import write_pipeline

MEMORY = {"memory": {"window": 24, "stride": 16, "context": 4}}
INDEX = {"corpus": {"path": "../docs"}, "split": {"tokens": 64, "overlap": 8}, "stores": ["bm25", MEMORY]}


def test_a_pipeline_builds_its_memory_with_its_own_model(make):
    pipeline = make({"max_new_tokens": 8}, search=True, index=INDEX)
    assert pipeline.ask("How many arches has the bridge?").token_ids
    source = pipeline._source
    model = source._models.main
    memory = source._index.memory(model.fingerprint, model.tokenizer.fingerprint, "float64")
    places = memory.entries(0)
    text = model.tokenizer.decode(memory.corpus.ids(0))
    assert memory.places([places.start])[0].source == "bridge.md"
    assert "The bridge of Tollin has 12 arches." in text
    found = memory.search(memory.keys[places.start + 3][None].astype(np.float64), 1)
    assert (found.rows[0, 0], found.distances[0, 0]) == (places.start + 3, 0)
    with pytest.raises(InputError, match="in another precision: dtype float64, now float32"):
        source._index.memory(model.fingerprint, model.tokenizer.fingerprint, "float32")


def test_the_commands_build_verify_and_tell(app, monkeypatch, capsys):
    monkeypatch.chdir(app)
    path = write_pipeline(app, "recalls", search=True, index=INDEX)
    run = Commands(monkeypatch, capsys)
    looked = run("build", str(path), "--dry-run", "--json")
    assert looked.code == 0
    assert looked.json["estimate"]["read"] > 50
    done = run("build", str(path))
    assert done.code == 0, done.err
    assert "tokens for the language model to read" in done.err
    assert "store memory: " in done.out
    assert "keys computed, 0 taken over, of 3 documents, kind flat" in done.out
    assert "up to date" in run("build", str(path)).out
    facts = run("info", str(path), "--json").json["stores"]["memory"]["facts"]
    assert {"model", "tokenizer", "dtype", "key", "width", "entries", "kind"} <= set(facts)
    assert (facts["dtype"], facts["key"]) == ("float64", "ffn_input")
    assert run("verify", str(path)).code == 0
    folder = index_path(load_pipeline(path))
    [keys] = folder.glob("data-*/stores/memory/keys.npy")
    keys.write_bytes(keys.read_bytes()[:-7])
    broken = run("verify", str(path))
    assert broken.code == 1
    assert "stores/memory/keys.npy" in broken.out
    assert run("build", str(path)).code == 0
    assert run("verify", str(path)).code == 0


def test_a_memory_of_other_weights_is_built_anew(app, monkeypatch, capsys, tmp_path):
    from tests.pipeline.tiny_app import write_model

    monkeypatch.chdir(app)
    path = write_pipeline(app, "recalls", search=True, index=INDEX)
    run = Commands(monkeypatch, capsys)
    assert run("build", str(path)).code == 0
    before = open_index(index_path(load_pipeline(path))).manifest.stores["memory"].facts["model"]
    (app / "model").unlink()
    (app / "model").symlink_to(write_model(tmp_path / "other", seed=1))
    again = run("build", str(path))
    assert "0 taken over" in again.out
    assert open_index(index_path(load_pipeline(path))).manifest.stores["memory"].facts["model"] != before


def test_windows_beyond_the_model_are_refused_on_one_line(app, monkeypatch, capsys):
    monkeypatch.chdir(app)
    index = INDEX | {"stores": ["bm25", {"memory": {"window": 5000}}]}
    run = Commands(monkeypatch, capsys)
    done = run("build", str(write_pipeline(app, "recalls", search=True, index=index)))
    assert done.code == 2
    assert "memory.window is 5000; the model reads 1024 tokens at most" in done.err
    assert "Traceback" not in done.err


def test_a_memory_finds_no_passages(app):
    from ragdecode.errors import SpecError

    with pytest.raises(SpecError, match="finds no passages: it is for decoding"):
        load_pipeline(write_pipeline(app, "wrong", search=True, index=INDEX, retrieve=[{"bm25": {"store": "memory"}}]))
