"""``ragdecode init``."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.check import command as check
from ragdecode.cli.init import command
from ragdecode.errors import InputError, RunError
from ragdecode.spec.index import CorpusSpec
from ragdecode.spec.load import load_pipeline


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_app_passes_check_and_uses_its_own_files(run, tmp_path, monkeypatch):
    result = run("my app")
    assert result.exit_code == 0
    monkeypatch.chdir(tmp_path / "my app")
    assert {path.name for path in (tmp_path / "my app").iterdir()} == {
        "README.md", "configs", "docs", "indexes", "pipelines", "retrievers",
    }  # fmt: skip
    done = CliRunner().invoke(check, ["pipelines/app.yaml"])
    assert done.stdout == "ok  app: hybrid % 8 >> rerank % 4 >> decode[cad + prompt_lookup]\n"
    own = [item.path for item in load_pipeline("app").inclusions if not item.from_catalogue]
    assert own == ["index", "retrieve", "prompt", "decode"]


def test_a_new_app_and_the_catalogues_read_every_format(run, tmp_path, monkeypatch):
    run("app")
    monkeypatch.chdir(tmp_path / "app")
    default = CorpusSpec.model_fields["include"].default
    assert "**/*.docx" in default
    assert [load_pipeline(name).spec.index.corpus.include for name in ("app", "docs-qa")] == [default, default]


def test_every_command_of_the_readme_exists(run, tmp_path):
    from ragdecode.cli.group import COMMANDS

    run("app")
    used = {
        line.split("ragdecode ", 1)[1].split()[0]
        for line in (tmp_path / "app" / "README.md").read_text().splitlines()
        if "ragdecode " in line and "init" not in line
    }
    assert used <= set(COMMANDS)
    assert used


def test_a_folder_that_is_not_empty_is_refused(run, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "notes.txt").write_text("mine")
    result = run("app")
    assert isinstance(result.exception, InputError)
    assert "--add" in (result.exception.hint or "")
    assert files(tmp_path / "app") == {"notes.txt": b"mine"}


def test_add_writes_only_what_is_missing(run, tmp_path):
    run("app")
    whole = files(tmp_path / "app")
    (tmp_path / "app" / "pipelines" / "app.yaml").write_text("description: mine\n")
    (tmp_path / "app" / "docs" / "welcome.md").unlink()
    result = run("app", "--add")
    assert result.exit_code == 0
    expected = {**whole, "pipelines/app.yaml": b"description: mine\n"}
    assert files(tmp_path / "app") == expected
    assert result.stdout.count("wrote  ") == 1
    assert result.stdout.count("kept   ") == len(whole) - 1


def test_a_file_is_no_folder(run, tmp_path):
    (tmp_path / "app").write_text("x")
    assert isinstance(run("app").exception, InputError)


def test_a_full_disk_leaves_no_half_written_file(run, tmp_path, monkeypatch):
    def full(self, *_, **__):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = run("app")
    assert isinstance(result.exception, RunError)
    assert "the disk is full" in result.exception.message
    assert files(tmp_path / "app") == {}
