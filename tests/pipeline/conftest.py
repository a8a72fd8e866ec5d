from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragdecode.pipeline.pipeline import Pipeline
from tests.pipeline import tiny_app


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_app.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def app(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    return tiny_app.write_app(tmp_path / "app", tiny_model)


@pytest.fixture
def make(app: Path):
    """Makes pipelines of the app."""
    opened: list[Pipeline] = []

    def build(decode: dict[str, Any] | None = None, **settings: Any) -> Pipeline:
        # the fixed tree: what a governor drafts depends on this machine's timing, and measuring takes a moment
        decode = {"max_new_tokens": 8, "governor": "off", "max_draft_nodes": 8} | (decode or {})
        file = tiny_app.write_pipeline(app, f"p{len(opened)}", decode=decode, **settings)
        opened.append(Pipeline.load(file))
        return opened[-1]

    yield build
    for pipeline in opened:
        pipeline.close()
