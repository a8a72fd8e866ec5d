"""The ways a part may be written: ``name``, ``name:``, ``name: {settings}``; and how overrides find one in a list."""

from __future__ import annotations

from dataclasses import dataclass

from ragdecode.errors import Problem
from ragdecode.spec import registry
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Node, Path_, Place, Scalar, Table, describe
from ragdecode.spec.override import Override
from ragdecode.spec.report import Report


@dataclass(frozen=True)
class WrittenPart:
    """A part as written.

    Attributes:
        name: Its name.
        settings: Its settings, possibly null.
        place: Where the name stands.
    """

    name: str
    settings: Node
    place: Place


def head(node: Node) -> str | None:
    """The name of a part as written, if it has the form of one."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    if isinstance(node, Table) and len(node.entries) == 1:
        return next(iter(node.entries))
    return None


def part_form(node: Node, kind: str, path: Path_, report: Report) -> WrittenPart | None:
    """A part's name and settings; None with a problem in the report if it has not the form of a part."""
    name = head(node)
    if name is not None and isinstance(node, Table):
        return WrittenPart(name, node.entries[name], node.keys.get(name, node.place))
    if name is not None:
        return WrittenPart(name, Scalar(node.place, None), node.place)
    found = describe(node)
    if isinstance(node, Table) and node.entries:
        found = f"a mapping with {len(node.entries)} keys ({', '.join(node.entries)})"
    hint = "settings are indented below the part's name; several parts are a list"
    report.add(node.place, path, f"expected a {kind}: a name, or 'name: {{settings}}'; found {found}", hint)
    return None


def unknown_part(kind: str, written: WrittenPart, shown: str) -> Problem:
    """The problem of a name that no part of the kind has."""
    hint = did_you_mean(written.name, registry.parts(kind)) or f"no {kind} is installed"
    place = written.place
    return Problem(f"unknown {kind} '{written.name}'", place.source.label, place.line, shown, hint)


def item_position(item: Override, items: list[Node], kind: str, path: Path_, report: Report) -> int | None:
    """The item of a chain that an override means; the chain's length to add one; None with a problem if none."""
    key = item.keys[0]
    heads = [head(node) for node in items]
    if key.isdigit():
        if int(key) <= len(items):
            return int(key)
        message = f"there is no item {key}; the list has {len(items)}"
        report.add(item.value.place, (*path, key), message, "items are counted from 0")
        return None
    if heads.count(key) == 1:
        return heads.index(key)
    if not items:
        return 0
    shown = report.show(path)
    if key in heads:
        message = f"'{key}' stands there {heads.count(key)} times"
        report.add(item.value.place, (*path, key), message, f"say which: {shown}.{heads.index(key)}.{key}")
        return None
    names = [name for name in heads if name is not None]
    message = f"there is no {kind} '{key}' here; there is {', '.join(names)}"
    near = did_you_mean(key, names)
    if near is None or not near.startswith("did"):
        near = f"set the whole list to change it: {shown}='[{', '.join([*names, key])}]'"
    report.add(item.value.place, (*path, key), message, near)
    return None
