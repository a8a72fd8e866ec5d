"""YAML as a tree that remembers where everything stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Place of a node in the resolved document: keys and list indices.
Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A text that YAML was read from.

    Attributes:
        label: The file as the user would name it; ``--set`` for an override.
        folder: Where relative paths in it start.
        root: The app (or catalogue) it belongs to; names in it are looked up there first.
        files: The files that led here by name, itself last.
        named_at: Where its name stands, if it was included by name.
    """

    label: str
    folder: Path
    root: Path
    files: tuple[Path, ...] = ()
    named_at: Place | None = None


@dataclass(frozen=True)
class Place:
    """A line of a source; None where lines mean nothing."""

    source: Source
    line: int | None = None

    def outermost(self) -> Place:
        """Where the user's own document names the file that this place is in, or the place itself."""
        return self if self.source.named_at is None else self.source.named_at.outermost()


@dataclass(frozen=True)
class Scalar:
    """A single value: text, number, truth value or null."""

    place: Place
    value: Any


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Table:
    """A mapping; ``keys`` holds where each key stands."""

    place: Place
    entries: Mapping[str, Node]
    keys: Mapping[str, Place] = field(default_factory=dict)


Node = Scalar | Items | Table


def to_plain(node: Node) -> Any:
    """The tree as dicts, lists and values."""
    if isinstance(node, Table):
        return {key: to_plain(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [to_plain(item) for item in node.items]
    return node.value


def from_plain(value: Any, place: Place) -> Node:
    """Dicts, lists and values as a tree that stands in one place."""
    if isinstance(value, Mapping):
        return Table(place, {str(key): from_plain(item, place) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Items(place, tuple(from_plain(item, place) for item in value))
    return Scalar(place, value)


def describe(node: Node) -> str:
    """What a node is, for messages: ``text 'abc'``, ``a list``."""
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    if isinstance(node.value, int | float):
        return f"the number {node.value}"
    if isinstance(node.value, str):
        text = node.value if len(node.value) <= 60 else node.value[:57] + "..."
        return f"the text {text!r}"
    return "a secret"
