"""``ragdecode diagnose knn`` over a tiny app: figures, page, going on after an interruption, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.errors import RagDecodeError
from tests.pipeline import tiny_app

MEMORY = {"memory": {"window": 24, "stride": 16, "context": 4}}
INDEX = {"corpus": {"path": "../docs"}, "split": {"tokens": 64, "overlap": 8}, "stores": ["bm25", MEMORY]}
HELD = "The bridge of Morvan smells of hay. Nobody built the tower in 1889; <b>it</b> is blue & has 3.5 arches. "
OVER = {"store": "memory", "weight": 0.5, "k": 8}


@pytest.fixture
def app(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    root = tiny_app.write_app(tmp_path / "app", tiny_app.write_model(tmp_path_factory.mktemp("model") / "tiny"))
    tiny_app.write_pipeline(root, "p", search=True, index=INDEX, decode={"rule": {"knn_lm": OVER}})
    (root / "held.txt").write_text(HELD * 4)
    return root


def write(app: Path, **settings) -> Path:
    spec = {
        "index": "pipelines/p.yaml", "text": "held.txt", "rule": {"knn_lm": OVER}, "tokens": 200,
        "generate": None,
    } | settings  # fmt: skip
    file = app / "look.yaml"
    file.write_text(json.dumps(spec))
    return file


def run(*arguments) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False, standalone_mode=False)
    return done.stdout


def built(app: Path) -> None:
    run("index", "build", app / "pipelines" / "p.yaml")


def test_figures_hang_together_and_the_page_stands_alone(app):
    built(app)
    file, page = write(app, description="<i>Held</i>"), app / "page.html"
    told = json.loads(run("diagnose", "knn", file, "--json", "--html", page))
    assert told["text"]["tokens"] == 200
    assert np.log(told["perplexity"]["lm"]) - np.log(told["perplexity"]["knn_lm"]) == pytest.approx(
        told["loss"]["gain"]["estimate"]
    )
    assert told["perplexity"]["oracle"] <= min(told["perplexity"]["lm"], told["perplexity"]["knn_lm"])
    assert told["ledger"]["largest_loss"] >= told["ledger"]["bound"] - 1e-9 == pytest.approx(np.log(0.5))
    assert [one["verdict"] for one in told["findings"]]
    text = page.read_text()
    assert "<i>Held" not in text
    assert "&lt;i&gt;Held" in text
    assert "http" not in text.split("<body")[1].replace("https://arxiv.org", "")
    assert "NaN" not in json.dumps(told)


def test_what_was_read_is_not_read_again(app, monkeypatch):
    from ragdecode.evaluation.knn import reading

    built(app)
    file = write(app)
    computed = reading.Reader._computed
    calls = []

    def broken(self, ids, first):
        calls.append(first)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return computed(self, ids, first)

    monkeypatch.setattr(reading.Reader, "_computed", broken)
    with pytest.raises((KeyboardInterrupt, RuntimeError, Exception)):
        CliRunner().invoke(cli, ["diagnose", "knn", str(file)], catch_exceptions=False, standalone_mode=False)
    assert len(calls) == 3
    first = run("diagnose", "knn", file, "--json")
    read = len(calls)
    assert run("diagnose", "knn", file, "--json") == first
    assert len(calls) == read
    run("diagnose", "knn", file, "--cache", app / "other", "--json")
    assert len(calls) == read + (read - 3) + 2  # what the interrupted run had kept is read as well


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "cad"}, "look.yaml:1.*'cad' has no memory"),
        ({"rule": {"knn_lm": {"store": "passages"}}}, "look.yaml:1.*asks the request's passages"),
        ({"rule": {"knn_lm": {**OVER, "pointers": 1}}}, "look.yaml:1.*pointers has no place"),
        ({"rule": {"knn_lm": {**OVER, "k": 60_000}}}, "look.yaml:1.*k is 60000; the memory has"),
        ({"text": "missing.txt"}, "look.yaml:1.*missing.txt"),
        ({"leave_out": ["nowhere.md"]}, "look.yaml:1.*'nowhere.md'"),
        ({"text": "empty.txt"}, "look.yaml:1.*no text has"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_line(app, settings, message):
    built(app)
    (app / "empty.txt").write_text("")
    file = write(app, **settings)
    with pytest.raises(RagDecodeError, match=message):
        run("diagnose", "knn", file)
