"""Where parts of every kind are registered and found by name.

A built-in part is a module inside its kind's package, found by scanning that package; an outside part is an
entry point of the kind's group. Neither imports a framework: that happens when a part is built.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings, Settings

T = TypeVar("T", bound=type)

#: kind -> (entry point group, package that is scanned for the built-in ones)
KINDS: dict[str, tuple[str, str]] = {
    "rule": ("ragdecode.rules", "ragdecode.decoding.rules"),
    "drafter": ("ragdecode.drafters", "ragdecode.decoding.drafters"),
    "constraint": ("ragdecode.constraints", "ragdecode.decoding.constraints"),
    "scorer": ("ragdecode.scorers", "ragdecode.decoding.scorers"),
    "monitor": ("ragdecode.monitors", "ragdecode.decoding.monitors"),
    "aligner": ("ragdecode.aligners", "ragdecode.decoding.aligners"),
    "reaction": ("ragdecode.reactions", "ragdecode.decoding.reactions"),
    "aggregator": ("ragdecode.aggregators", "ragdecode.decoding.aggregators"),
    "search": ("ragdecode.searches", "ragdecode.decoding.search"),
    "retriever": ("ragdecode.retrievers", "ragdecode.retrieval.stages"),
    "fusion": ("ragdecode.fusions", "ragdecode.retrieval.fusions"),
    "store": ("ragdecode.stores", "ragdecode.indexing.stores"),
    "reader": ("ragdecode.readers", "ragdecode.documents.readers"),
    "loader": ("ragdecode.loaders", "ragdecode.documents.loaders"),
    "dataset": ("ragdecode.datasets", "ragdecode.evaluation.datasets"),
    "metric": ("ragdecode.metrics", "ragdecode.evaluation.metrics"),
    "decomposer": ("ragdecode.decomposers", "ragdecode.retrieval.decomposers"),
}


@dataclass(frozen=True)
class PartInfo:
    """A registered part.

    Attributes:
        kind: One of `KINDS`.
        name: The name that YAML uses.
        cls: The class; built as ``cls(settings)``.
        settings: The typed model of its settings.
        summary: First line of the class's docstring.
        origin: ``ragdecode``, or the distribution that brought it.
    """

    kind: str
    name: str
    cls: type
    settings: type[Settings]
    summary: str
    origin: str


_parts: dict[tuple[str, str], PartInfo] = {}


def register(kind: str, name: str, settings: type[Settings] = NoSettings) -> Callable[[T], T]:
    """Register the decorated class as the part ``name`` of ``kind``.

    Raises:
        ValueError: The kind is unknown, or another class already has the name (a bug of the package).
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of part: {kind!r}; kinds are {', '.join(KINDS)}")

    def decorate(cls: T) -> T:
        known = _parts.get((kind, name))
        if known is not None and known.cls.__qualname__ != cls.__qualname__:
            raise ValueError(f"{kind} {name!r} is registered twice: {known.cls!r} and {cls!r}")
        summary = (cls.__doc__ or "").strip().split("\n", 1)[0]
        origin = cls.__module__.split(".", 1)[0]
        cls.part_name = name  # type: ignore[attr-defined]
        _parts[kind, name] = PartInfo(kind, name, cls, settings, summary, origin)
        return cls

    return decorate


@cache
def _entry_points() -> Any:
    # once for all kinds: it reads a file of every installed distribution
    return entry_points()


@cache
def _discover(kind: str) -> None:
    group, package_name = KINDS[kind]
    package = importlib.import_module(package_name)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package_name}.{module.name}")
    for entry in _entry_points().select(group=group):
        try:
            entry.load()
        except Exception as error:
            raise InputError(
                f"the plug-in {entry.name!r} ({entry.value}) of group {group} cannot be imported: {error}",
                hint="repair or uninstall the package that declares it",
            ) from error
        if entry.dist is not None:
            _credit(entry.module.split(".", 1)[0], entry.dist.name)


def _credit(module: str, distribution: str) -> None:
    """Name the distribution as the origin of the parts that its top-level module holds."""
    for key, info in _parts.items():
        if info.cls.__module__.split(".", 1)[0] == module:
            _parts[key] = replace(info, origin=distribution)


def parts(kind: str) -> dict[str, PartInfo]:
    """All parts of a kind by name, sorted."""
    _discover(kind)
    return {name: info for (of, name), info in sorted(_parts.items()) if of == kind}


def find(kind: str, name: str) -> PartInfo | None:
    """The part of that kind and name, or None."""
    return parts(kind).get(name)
