"""``ragdecode schema``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from ragdecode.cli.schema import command
from ragdecode.errors import InputError
from ragdecode.spec.reference import FOLDERS


@pytest.mark.parametrize("kind", FOLDERS)
def test_it_prints_a_schema(kind):
    result = CliRunner().invoke(command, [kind])
    assert result.exit_code == 0
    Draft202012Validator.check_schema(json.loads(result.stdout))


def test_pipelines_unless_told_otherwise():
    assert CliRunner().invoke(command, []).stdout == CliRunner().invoke(command, ["pipelines"]).stdout


def test_it_writes_a_file(tmp_path):
    out = tmp_path / "s.json"
    result = CliRunner().invoke(command, ["models", "--out", str(out)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(out.read_text())["required"] == ["source"]


def test_where_it_cannot_write_it_says_so(tmp_path):
    result = CliRunner().invoke(command, ["models", "--out", str(tmp_path / "no" / "s.json")])
    assert isinstance(result.exception, InputError)
    assert "cannot write" in result.exception.message
