"""Validates a resolved tree with pydantic, and says each complaint with its file, line and path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Items, Node, Path_, Table, describe, to_plain
from ragdecode.spec.report import Report


def validate(node: Node, adapter: TypeAdapter[Any], report: Report) -> Any:
    """The typed value of a tree, or None with problems in the report."""
    try:
        return adapter.validate_python(to_plain(node))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            at, path = node_at(node, item["loc"], absent=item["type"] in ("missing", "extra_forbidden"))
            if not report.judged(path) and not _is_echo(dict(item), at):
                message, hint = _message(dict(item), at)
                report.add(at.place, path, message, hint)
        return None


def node_at(node: Node, loc: tuple[int | str, ...], *, absent: bool = True) -> tuple[Node, Path_]:
    """The node that pydantic means; parts of its location that are no keys (union arms) are passed over.

    Where ``absent``, the last part may be a key that is not there.
    """
    path: list[str | int] = []
    for depth, key in enumerate(loc):
        if isinstance(node, Table) and isinstance(key, str) and key in node.entries:
            node = node.entries[key]
        elif isinstance(node, Items) and isinstance(key, int) and key < len(node.items):
            node = node.items[key]
        elif absent and isinstance(node, Table) and depth == len(loc) - 1 and isinstance(key, str):
            path.append(key)
            break
        else:
            continue
        path.append(key)
    return node, tuple(path)


def _is_echo(item: dict[str, Any], node: Node) -> bool:
    """Whether a list is called too short only because items in it are wrong."""
    return item["type"] == "too_short" and isinstance(node, Items) and len(node.items) >= item["ctx"]["min_length"]


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def _bound(item: dict[str, Any], node: Node) -> str:
    key, words = _BOUNDS[item["type"]]
    return f"expected {words} {item['ctx'][key]}; found {describe(node)}"


#: errors of a value of another type that only a union lets through to pydantic
_KINDS = {
    "a number": ("float_type", "float_parsing"),
    "a whole number": ("int_type", "int_parsing"),
    "a text": ("string_type",),
    "a list": ("tuple_type", "list_type"),
    "a mapping": ("dict_type",),
}


def _type(expected: str) -> Callable[[dict[str, Any], Node], str]:
    return lambda item, node: f"expected {expected}; found {describe(node)}"


def _length(word: str, bound: str) -> Callable[[dict[str, Any], Node], str]:
    def message(item: dict[str, Any], node: Node) -> str:
        limit = item["ctx"][bound]
        found = f"{len(node.items)}" if isinstance(node, Items) else describe(node)
        unit = "item" if isinstance(node, Items) else "character"
        return f"expected {word} {limit} {unit}{'' if limit == 1 else 's'}; found {found}"

    return message


_MESSAGES: dict[str, Callable[[dict[str, Any], Node], str]] = {
    **dict.fromkeys(_BOUNDS, _bound),
    "missing": lambda item, node: f"'{item['loc'][-1]}' is missing",
    **{name: _type(kind) for kind, names in _KINDS.items() for name in names},
    "finite_number": lambda item, node: f"expected a finite number; found {describe(node)}",
    "string_pattern_mismatch": lambda item, node: (
        f"expected text that matches {item['ctx']['pattern']}; found {describe(node)}"
    ),
    "too_short": _length("at least", "min_length"),
    "too_long": _length("at most", "max_length"),
    "string_too_short": _length("at least", "min_length"),
    "string_too_long": _length("at most", "max_length"),
    "extra_forbidden": lambda item, node: f"unknown key '{item['loc'][-1]}'",
}


def _message(item: dict[str, Any], node: Node) -> tuple[str, str | None]:
    if item["type"] == "literal_error":
        expected = item["ctx"]["expected"]
        found = to_plain(node)
        words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ")]
        hint = did_you_mean(found, words) if isinstance(found, str) else None
        return f"expected {expected}; found {describe(node)}", hint
    say = _MESSAGES.get(item["type"])
    if say is not None:
        return say(item, node), None
    return item["msg"].removeprefix("Value error, "), None
