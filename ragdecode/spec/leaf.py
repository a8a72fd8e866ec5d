"""Plain values: type, path made absolute, secret read from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Items, Node, Path_, Scalar, Table, describe
from ragdecode.spec.override import LABEL
from ragdecode.spec.report import Report
from ragdecode.spec.secret import ENV, ENV_LIKE, Secret
from ragdecode.spec.shape import Leaf

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def check_leaf(node: Node, leaf: Leaf, path: Path_, report: Report) -> Node:
    """The value as it is meant, or as it stands with a problem in the report."""
    if not isinstance(node, Scalar):
        if leaf.types:
            report.add(node.place, path, f"expected {_expected(leaf)}; found {describe(node)}")
        else:
            _refuse_secrets_below(node, path, report)
        return node
    if leaf.secret:
        return _secret(node, path, report)
    if isinstance(node.value, str) and ENV_LIKE.search(node.value):
        hint = "write the value itself; only secret fields are read from the environment"
        report.add(node.place, path, "${ENV:...} is for secrets only, and this is no secret", hint)
        return node
    if leaf.literals and node.value not in leaf.literals:
        near = did_you_mean(str(node.value), [str(value) for value in leaf.literals])
        report.add(node.place, path, f"expected {_expected(leaf)}; found {describe(node)}", near)
        return node
    if leaf.types and not _fits(node.value, leaf.types):
        quotes = f'write "{node.value}" in quotes' if str in leaf.types and node.value is not None else None
        report.add(node.place, path, f"expected {_expected(leaf)}; found {describe(node)}", quotes)
        return node
    if leaf.path is not None and isinstance(node.value, str) and not (leaf.path.or_url and "://" in node.value):
        return _absolute(node, leaf.path.must_exist, path, report)
    return node


def _fits(value: object, types: frozenset[type]) -> bool:
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int):
        return int in types or float in types
    return type(value) in types


def _expected(leaf: Leaf) -> str:
    if leaf.literals:
        return "one of " + ", ".join(str(value) for value in leaf.literals)
    return " or ".join(_WORDS[kind] for kind in _WORDS if kind in leaf.types) or "a value"


def _secret(node: Scalar, path: Path_, report: Report) -> Node:
    """Never shows the value, not even of what is wrong with it."""
    if not isinstance(node.value, str):
        report.add(node.place, path, "expected a secret, written ${ENV:NAME}")
        return node
    mark = ENV.fullmatch(node.value)
    if mark is None:
        if ENV_LIKE.search(node.value):
            report.add(node.place, path, "cannot read this secret", "write ${ENV:NAME} and nothing around it")
            return node
        return Scalar(node.place, Secret(node.value))
    value = os.environ.get(mark[1])
    if not value:
        hint = f"export {mark[1]}=... before the run"
        report.add(node.place, path, f"the environment variable {mark[1]} is not set", hint)
        return node
    return Scalar(node.place, Secret(value, node.value))


def _absolute(node: Scalar, must_exist: bool, path: Path_, report: Report) -> Node:
    written = Path(str(node.value)).expanduser()
    try:
        target = (node.place.source.folder / written).resolve()
        missing = must_exist and not target.exists()
    except (OSError, ValueError, RuntimeError):
        report.add(node.place, path, f"{str(node.value)!r} is not a usable path")
        return node
    if missing or not node.value:
        near = did_you_mean(written.name, _siblings(target)) if node.value else None
        start = "the current folder" if node.place.source.label == LABEL else "the file they stand in"
        hint = near if near is not None and near.startswith("did") else f"paths are relative to {start}"
        report.add(node.place, path, f"no such file or folder: {target if node.value else repr(node.value)}", hint)
        return node
    return Scalar(node.place, str(target))


def _siblings(target: Path) -> list[str]:
    try:
        return sorted(path.name for path in target.parent.iterdir())
    except OSError:
        return []


def _refuse_secrets_below(node: Node, path: Path_, report: Report) -> None:
    """Free-form values take no secrets either."""
    if isinstance(node, Table):
        for key, value in node.entries.items():
            _refuse_secrets_below(value, (*path, key), report)
    elif isinstance(node, Items):
        for position, value in enumerate(node.items):
            _refuse_secrets_below(value, (*path, position), report)
    else:
        check_leaf(node, Leaf(), path, report)
