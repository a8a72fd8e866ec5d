from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ragdecode.cli.index import command
from ragdecode.errors import InputError, RunError
from ragdecode.indexing.location import index_path
from ragdecode.spec.load import load_document, load_pipeline
from tests.cli.index_app import PIPELINE, make_app
from tests.indexing.doubles import TEXTS, put


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app whose models are stand-ins."""
    return make_app(tmp_path / "app", monkeypatch)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=True)


def output(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def test_build_prints_stages_and_what_was_done(app: Path) -> None:
    result = run("build", "pipelines/qa.yaml")
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["read", "store bm25", "store faiss", "write"]
    assert all("/s)" in line for line in lines[:3])
    assert lines[-1] == "added 4 files, changed 0, removed 0, 4 passages"
    assert str(app / ".ragdecode" / "indexes" / "qa") in result.stderr
    assert "passages of 200 tokens, 40 shared; stores: bm25, faiss" in result.stderr
    assert run("build", "qa").stdout.splitlines() == ["up to date: 4 files, 4 passages"]


def test_json_is_one_object(app: Path) -> None:
    (app / "docs" / "bad.txt").write_bytes(b"\xe9\xe8")
    report = output("build", "qa")
    assert (report["added"], report["passages"], report["built"]) == (4, 4, True)
    assert report["skipped"] == [{"source": "bad.txt", "reason": "not valid utf-8: byte 0xe9 at offset 0"}]
    assert report["path"] == str(app / ".ragdecode" / "indexes" / "qa")
    info = output("info", "qa")
    assert (info["passages"], sorted(info["stores"])) == (4, ["bm25", "faiss"])
    assert output("verify", "qa") == {"path": report["path"], "ok": True, "problems": []}
    assert output("info", report["path"]) == info


def test_people_see_skipped_files_on_one_line_each(app: Path) -> None:
    (app / "docs" / "line\nend.txt").write_bytes(b"\xe9\xe8")
    shown = "skipped 'line\\nend.txt': not valid utf-8: byte 0xe9 at offset 0"
    assert shown in run("build", "qa").stdout.splitlines()
    assert shown in run("info", "qa").stdout.splitlines()


def test_verify_ends_with_1_on_corruption(app: Path) -> None:
    run("build", "qa")
    (file,) = (app / ".ragdecode").glob("indexes/qa/data-*/passages.jsonl")
    file.write_bytes(file.read_bytes().replace(b"green", b"grean"))
    result = run("verify", "qa")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "passages.jsonl: its content has changed"
    assert output("verify", "qa")["ok"] is False
    assert run("build", "qa", "--force").exit_code == 0
    assert run("verify", "qa").exit_code == 0


def test_an_index_file_is_a_target_too(app: Path) -> None:
    assert output("build", "indexes/notes.yaml")["path"].endswith("/indexes/notes")
    assert output("info", "notes")["files"] == len(TEXTS)


def test_overrides_get_an_index_of_their_own(app: Path) -> None:
    plain = output("build", "qa")["path"]
    other = output("build", "qa", "--set", "index.split.tokens=50", "--set", "index.split.overlap=10")["path"]
    assert other != plain
    assert Path(other).name.startswith("qa-")
    assert output("info", "qa", "--set", "index.split.tokens=50", "--set", "index.split.overlap=10")["path"] == other
    assert output("build", "qa", "--set", "decode.max_new_tokens=5")["path"] == plain


def test_the_catalogue_keeps_its_indexes_in_the_cache(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGDECODE_CACHE", str(app / "cache"))
    folder = index_path(load_pipeline("docs-qa"))
    assert folder.parent == app / "cache" / "indexes"
    assert folder.name.startswith("docs-qa-")
    other = index_path(load_pipeline("docs-qa", [f"index.corpus.path={app / 'docs'}"]))
    assert other.parent == folder.parent
    assert other != folder


def test_an_edited_index_file_keeps_its_place(app: Path) -> None:
    before = index_path(load_document("indexes", "notes"))
    file = app / "indexes" / "notes.yaml"
    file.write_text(file.read_text() + "split: {tokens: 64, overlap: 8}\n")
    assert index_path(load_document("indexes", "notes")) == before


@pytest.mark.parametrize(
    ("arguments", "error", "shown"),
    [
        (["info", "qa"], InputError, "there is no index"),
        (["verify", "qa"], InputError, "there is no index"),
        (["build", "nowhere.yaml"], InputError, "no such file"),
        (["build", "qa", "--set", "index.corpus.include=[x.xyz]"], InputError, "the corpus is empty"),
        (["info", "model", "--set", "a=b"], InputError, "no place with the folder"),
        (["info", "model"], InputError, "there is no index in 'model'"),
    ],
)
def test_mistakes_are_errors_of_the_input(app: Path, arguments: list[str], error: type, shown: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert shown in str(result.exception)
    assert result.stdout == ""


def test_a_pipeline_without_index_says_so(app: Path) -> None:
    text = "\n".join(line for line in PIPELINE.splitlines() if line.startswith(("prompt", "model")))
    (app / "pipelines" / "bare.yaml").write_text(text)
    result = run("build", "bare")
    assert isinstance(result.exception, InputError)
    assert "has no index" in str(result.exception)


def test_an_index_without_tokenizer_says_what_to_add(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    (tmp_path / "plain.yaml").write_text("corpus: {path: docs}\n")
    result = run("build", str(tmp_path / "plain.yaml"))
    assert isinstance(result.exception, InputError)
    assert "tokenizer: MODEL" in str(result.exception)


def test_a_damaged_index_is_not_described(app: Path) -> None:
    run("build", "qa")
    (file,) = (app / ".ragdecode").glob("indexes/qa/data-*/passages.jsonl")
    file.unlink()
    assert isinstance(run("info", "qa").exception, RunError)
    assert run("verify", "qa").stdout.splitlines()[0] == "passages.jsonl: missing"


def test_commands_are_listed_in_help() -> None:
    assert isinstance(command, click.Group)
    assert sorted(command.commands) == ["build", "info", "search", "verify"]


def test_a_name_is_no_folder_that_happens_to_be_called_so(app: Path) -> None:
    (app / "qa").mkdir()
    (app / "notes").mkdir()
    output("build", "qa")
    assert output("info", "qa")["files"] == len(TEXTS)
    result = run("info", "notes")
    assert isinstance(result.exception, InputError)
    assert ".ragdecode" in result.exception.message
    (app / "bare").mkdir()
    assert "no index in 'bare'" in str(run("info", "bare").exception)
