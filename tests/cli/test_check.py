"""``ragdecode check``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.check import command
from ragdecode.errors import InputError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("docs-qa", "ok  docs-qa: hybrid % 8 >> rerank % 4 >> decode[cad + prompt_lookup]\n"),
        ("plain", "ok  plain: decode[prompt_lookup]\n"),
        ("hybrid-reranked", "ok  hybrid-reranked: hybrid % 8 >> rerank % 4\n"),
        ("grounded", "ok  grounded: prompts\n"),
    ],
)
def test_what_is_fine_is_one_line(run, target, line):
    result = run(target)
    assert (result.exit_code, result.stdout, result.stderr) == (0, line, "")


def test_an_override_is_checked_too(run):
    assert run("plain", "--set", "decode.rule=cad").stdout == "ok  plain: decode[cad + prompt_lookup]\n"
    result = run("plain", "--set", "decode.rule=cda")
    assert result.exit_code == 2
    assert "--set: decode.rule.cda: unknown rule 'cda' (did you mean 'cad'?)" in result.stderr


def test_all_problems_go_to_stderr(run, tmp_path):
    (tmp_path / "p.yaml").write_text("modle: x\ndecode:\n  rule: cda\n  max_new_tokens: 0\n")
    result = run("p.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "p.yaml:1: modle: unknown key 'modle' (did you mean 'model'?)",
        "p.yaml:1: model: 'model' is missing: The language model.",
        "p.yaml:3: decode.rule.cda: unknown rule 'cda' (did you mean 'cad'?)",
        "p.yaml:4: decode.max_new_tokens: expected at least 1; found the number 0",
        "4 problems",
    ]


def test_the_kind_can_be_said(run, tmp_path):
    (tmp_path / "x.yaml").write_text("description: only this\n")
    assert "'model' is missing" in run("x.yaml", "--kind", "pipelines").stderr
    assert run("x.yaml", "--kind", "decoding").exit_code == 0


@pytest.mark.parametrize("arguments", [["check", "docs-qa"], ["schema"], ["explain", "docs-qa"], ["list"], ["--help"]])
def test_no_framework_is_imported(arguments, tmp_path):
    """What answers at once must not load what takes seconds."""
    code = (
        "import sys\n"
        f"sys.argv = ['ragdecode', *{arguments!r}]\n"
        "from ragdecode.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as leave:\n"
        "    assert not leave.code, leave.code\n"
        "heavy = {'torch', 'transformers', 'faiss', 'bm25s', 'sentence_transformers', 'langchain_core', 'numpy',\n"
        "         'pypdf', 'lxml', 'huggingface_hub', 'tokenizers', 'safetensors', 'rich'}\n"
        "found = heavy & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_mistake_shows_no_traceback_and_exits_with_2(tmp_path):
    (tmp_path / "p.yaml").write_text("model: [\n")
    ragdecode = Path(sys.executable).with_name("ragdecode")
    done = subprocess.run([ragdecode, "explain", "p.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: p.yaml:2: not valid YAML")
    assert "Traceback" not in done.stderr


def test_a_removed_folder_is_said(run, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = run("plain")
    assert isinstance(result.exception, InputError)
    assert "the current folder is gone" in result.exception.message
    monkeypatch.chdir(tmp_path)
