"""An app in a temporary folder, and parts that exist only here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, SecretStr

from ragdecode.errors import InputError
from ragdecode.spec import registry
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Fusion, Retrievers
from ragdecode.spec.reference import ExistingPath, Reference
from ragdecode.spec.settings import Settings


class App:
    """Writes files of an app; the current folder is its root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pipelines").mkdir()
        (root / "docs").mkdir()
        (root / "docs" / "a.md").write_text("# A\n\nText.\n")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    root = tmp_path / "app"
    root.mkdir()
    monkeypatch.chdir(root)
    return App(root)


class WideSettings(Settings):
    """Every kind of field that means more than its type."""

    size: int = Field(default=4, ge=1, le=9)
    ratio: float = 0.5
    on: bool = True
    mode: Literal["fast", "exact"] = "fast"
    words: tuple[str, ...] = ()
    table: dict[str, int] = Field(default_factory=dict)
    folder: ExistingPath | None = None
    model: Annotated[ModelSpec, Reference("models")] = Field(default="smollm2-135m", validate_default=True)  # type: ignore[assignment]
    by: Annotated[Literal["likelihood"] | ModelSpec, Reference("models")] = "likelihood"
    fuse: Fusion = Field(default="rrf", validate_default=True)  # type: ignore[assignment]
    inner: Retrievers = ()
    password: SecretStr | None = None
    free: Any = None


class ReaderSettings(Settings):
    """Which view."""

    view: str = "rag"


class _Built:
    def __init__(self, settings: Any) -> None:
        self.settings = settings


class Wide(_Built):
    """A stage with every kind of setting."""

    role = "find"


class Reads(_Built):
    """A rule, drafter or monitor that asks for a view."""

    @property
    def views(self) -> tuple[str, ...]:
        return (self.settings.view,)


class Evidence(Reads):
    """A rule that decides what CAD decides."""

    reweighs = "evidence"


class Sequential(_Built):
    """A rule that depends on what was accepted."""

    views = ()
    on_trees = False


class Particular(_Built):
    """A rule that goes with nothing beside it, and wants a temperature of 1."""

    views = ()

    def check(self, company) -> None:
        names = [len(company.rules) > 1, *company.drafters, *company.constraints, *company.monitors]
        if any(names) or company.sampling.temperature != 1 or company.max_draft_nodes > 20:
            raise InputError("it is particular", hint="leave it alone")


class Expanding(_Built):
    """A rule that wants to see three candidates of every node."""

    views = ()
    expand = 3


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in registry.KINDS:
        registry.parts(kind)
    monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    registry.register("retriever", "wide", WideSettings)(Wide)
    registry.register("rule", "reads", ReaderSettings)(Reads)
    registry.register("rule", "expands", ReaderSettings)(Expanding)
    registry.register("rule", "particular", ReaderSettings)(Particular)
    registry.register("rule", "sequential", ReaderSettings)(Sequential)
    registry.register("drafter", "looks", ReaderSettings)(Reads)
    registry.register("monitor", "watches", ReaderSettings)(Reads)
    registry.register("rule", "evidence_too", ReaderSettings)(Evidence)
