"""An app for the tests of ``ragdecode index``, whose models are stand-ins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ragdecode.cli.main import main
from ragdecode.indexing.models import IndexModels
from tests.indexing.doubles import HashedWords, put, word_offsets

MODEL = "{source: {path: {path: ../model}}}"
PIPELINE = f"""index:
  corpus: {{path: ../docs}}
  stores: [bm25, {{faiss: {{encoder: {{kind: encoder, source: {{path: {{path: ../model}}}}}}}}}}]
retrieve: hybrid
prompt: {{messages: [{{role: user, content: "{{{{ question }}}}"}}]}}
model: {MODEL}
"""


class Done(NamedTuple):
    """Outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output."""
        return json.loads(self.out)


def make_app(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four documents, the pipeline ``qa`` and the index ``notes``; becomes the current folder."""
    put(folder / "docs")
    for name in ("model", "pipelines", "indexes"):
        (folder / name).mkdir()
    (folder / "pipelines" / "qa.yaml").write_text(PIPELINE)
    (folder / "indexes" / "notes.yaml").write_text(f"corpus: {{path: ../docs}}\ntokenizer: {MODEL}\n")
    monkeypatch.setattr(IndexModels, "token_offsets", staticmethod(word_offsets))
    monkeypatch.setattr(IndexModels, "tokenizer_fingerprint", "words-1")
    monkeypatch.setattr(IndexModels, "encoder", lambda self, model: HashedWords())
    monkeypatch.chdir(folder)
    return folder


class Commands:
    """Runs commands as the entry point does, with its messages and exit codes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        """Run ``ragdecode index ...``."""
        self._monkeypatch.setattr(sys, "argv", ["ragdecode", "index", *arguments])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else -1
        return Done(code, *self._capsys.readouterr())
