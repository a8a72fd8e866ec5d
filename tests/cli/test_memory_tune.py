"""``ragdecode memory tune`` over a tiny app: what it writes is used by the rule, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.errors import RagDecodeError
from tests.pipeline import tiny_app

INDEX = {
    "corpus": {"path": "../docs"},
    "split": {"tokens": 64, "overlap": 8},
    "stores": ["bm25", {"memory": {"window": 24, "stride": 16, "context": 4}}],
}
OUT = "configs/tunings/t.yaml"
HELD = "The bridge of Morvan smells of hay. Nobody built the tower in 1889; it is blue & has 3.5 arches. "


def run(*arguments) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False, standalone_mode=False)
    return done.stdout


@pytest.fixture
def app(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    root = tiny_app.write_app(tmp_path / "app", tiny_app.write_model(tmp_path_factory.mktemp("model") / "tiny"))
    tiny_app.write_pipeline(root, "p", search=True, index=INDEX)
    (root / "held.txt").write_text(HELD * 12)
    (root / "configs/tunings").mkdir(parents=True)
    monkeypatch.chdir(root)
    run("index", "build", root / "pipelines" / "p.yaml")
    return root


def tuned(app: Path, *more) -> dict:
    return json.loads(
        run("memory", "tune", "pipelines/p.yaml", "--text", "held.txt", "--out", OUT, "--k", 8, "--json", *more)
    )


def test_what_is_written_tunes_the_rule_every_way(app):
    told = tuned(app, "--seed", "3")
    assert told["tokens"] > 0
    for way in ("fixed", "distance", "gate"):
        assert told[way]["gain"]["low"] <= told[way]["gain"]["estimate"] <= told[way]["gain"]["high"]
    assert "NaN" not in json.dumps(told)
    assert tuned(app, "--seed", "3") == told  # a seed gives one gate
    for way in ("fixed", "distance", "gate"):
        rule = {"knn_lm": {"store": "memory", "by": way, "tuning": "t"}}
        tiny_app.write_pipeline(app, "q", search=True, index=INDEX, decode={"rule": rule, "max_new_tokens": 3})
        assert json.loads(run("ask", "pipelines/q.yaml", "Who built the bridge?", "--json"))["stats"]["new_tokens"]


def test_a_diagnosis_with_the_tuning_reads_the_same_weights(app):
    """The reading of the diagnosis goes through the rule itself, with its own weights and votes."""
    tuned(app)
    for way, close in (("fixed", 1e-5), ("distance", 1e-3), ("gate", 1e-3)):
        over = {"store": "memory", "by": way, "tuning": "t"}
        look = {
            "index": str(app / "pipelines/p.yaml"),
            "text": str(app / "held.txt"),
            "rule": {"knn_lm": over},
            "generate": None,
        }
        (app / "look.yaml").write_text(json.dumps(look))
        read = json.loads(run("diagnose", "knn", "look.yaml", "--json"))
        from ragdecode.decoding.knn.corpus_store import CorpusStore
        from ragdecode.decoding.knn.tuning import Buckets
        from ragdecode.evaluation.knn.asked import ask
        from ragdecode.evaluation.knn.portions import portions
        from ragdecode.evaluation.knn.votes import mixed
        from ragdecode.spec.load import load_document

        spec = load_document("tunings", "t").spec
        opened = _opened()
        ids = opened.model.tokenizer.encode((app / "held.txt").read_text(), special=False)
        store, facts = CorpusStore(opened.memory), opened.memory.facts
        asked = ask(opened.backend, store, portions([ids], facts, 20_000), facts["key"], 8, opened.model.vocab_size)
        if way == "gate":
            from ragdecode.decoding.knn.gate import load_gate
            from ragdecode.evaluation.knn.gating import weights

            weight = weights(load_gate(Path(spec.gate))[0], asked)
        elif way == "distance":
            weight = Buckets.of(spec.buckets).weight(asked.distances[:, 0])
        else:
            weight = asked.lm * 0 + spec.weight
        loss = -mixed(asked.lm, asked.votes(spec.temperature), weight).mean()
        assert read["loss"]["knn_lm"] == pytest.approx(loss, abs=close)
        assert read["settings"]["mean_weight"] == pytest.approx(weight.mean(), abs=close)


def _opened():
    from ragdecode.cli.open_memory import open_memory

    return open_memory("pipelines/p.yaml", lambda *_: None, fetch=False)


def test_the_gate_can_spare_searches(app):
    told = tuned(app, "--spare", "0.5")
    assert 0.2 < told["gate"]["searched"] < 0.8
    assert told["fixed"]["searched"] in (0.0, 1.0)


def test_without_a_gate_none_is_written_and_files_left_out_do_not_vote(app):
    told = tuned(app, "--no-gate")
    assert "gate" not in told
    assert not (app / "configs/tunings/t.safetensors").exists()
    assert "gate" not in (app / OUT).read_text()
    names = sorted(one.name for one in (app / "docs").iterdir())
    other = tuned(app, "--no-gate", "--leave-out", names[0])
    assert other["fixed"] != told["fixed"] or other["temperature"] != told["temperature"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--k", "60000"), "--k is 60000; the memory has"),
        (("--text", "short.txt"), "too short|are needed"),
        (("--leave-out", "nowhere.md"), "'nowhere.md'"),
        (("--out", "t.json"), "a tuning is a YAML file"),
        (("--out", "no/t.yaml"), "its folder does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(app, more, message):
    (app / "short.txt").write_text("The bridge of Morvan.")
    with pytest.raises(RagDecodeError, match=message):
        tuned(app, *more)


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_gate_that_does_not_belong_is_refused_before_decoding(app, damage):
    tuned(app)
    gate = app / "configs/tunings/t.safetensors"
    if damage == "missing":
        gate.unlink()
    elif damage == "cut":
        gate.write_bytes(gate.read_bytes()[:200])
    else:
        from ragdecode.decoding.knn.gate import gate_bytes, load_gate

        found, facts = load_gate(gate)
        gate.write_bytes(gate_bytes(found, {**facts, "model": "another"}))
    rule = {"knn_lm": {"store": "memory", "by": "gate", "tuning": "t"}}
    tiny_app.write_pipeline(app, "q", search=True, index=INDEX, decode={"rule": rule, "max_new_tokens": 3})
    with pytest.raises(RagDecodeError, match="gate"):
        run("ask", "pipelines/q.yaml", "Who built the bridge?")
