"""``ragdecode list``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ragdecode.cli.list import command
from ragdecode.errors import InputError
from ragdecode.spec.reference import FOLDERS
from ragdecode.spec.registry import KINDS


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


def test_everything_is_listed(run):
    found = json.loads(run("--json").stdout)
    assert list(found) == [*FOLDERS, *KINDS]
    listed = {kind: {row["name"]: row for row in rows} for kind, rows in found.items()}
    assert listed["pipelines"]["docs-qa"]["origin"] == "catalogue"
    assert listed["retrievers"]["hybrid-reranked"]["summary"] == "hybrid % 8 >> rerank % 4"
    assert listed["rule"]["cad"]["origin"] == "ragdecode"
    assert all(row["summary"] for rows in found.values() for row in rows)


def test_one_kind_for_people(run):
    lines = run("models").stdout.splitlines()
    assert lines[0] == "models (files in configs/models/)"
    assert lines[2].startswith("  smollm2-135m  catalogue  SmolLM2-135M-Instruct")


def test_own_files_hide_the_catalogues_and_broken_ones_say_so(run, tmp_path):
    for name, text in {"pipelines/plain.yaml": "description: mine", "pipelines/bad.yaml": "a: ["}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "retrievers").mkdir()
    (tmp_path / "retrievers" / "odd.yaml").write_text("- nope")
    found = json.loads(run("pipelines", "--json").stdout)["pipelines"]
    rows = {row["name"]: (row["origin"], row["summary"]) for row in found}
    assert rows["plain"] == ("app", "mine")
    assert rows["bad"] == ("app", "broken; see: ragdecode check pipelines/bad.yaml")
    assert rows["docs-qa"][0] == "catalogue"
    assert "odd" in run("retrievers").stdout


def test_help_names_every_kind(run):
    words = run("--help").stdout.replace(",", " ").replace(".", " ").split()
    assert {*FOLDERS, *KINDS} <= set(words)


def test_an_unknown_kind_names_the_nearest(run):
    result = run("modles")
    assert isinstance(result.exception, InputError)
    assert result.exception.hint == "did you mean 'models'?"
