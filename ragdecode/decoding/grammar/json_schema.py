"""JSON Schema as a grammar, through llguidance; what it does not know is refused by name, never ignored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Whitespace = Literal["compact", "spaced", "flexible"]

#: How separators and blanks are written: options of llguidance's compiler, which go before a schema's own wishes.
_STYLES: dict[str, dict[str, Any]] = {
    "compact": {"item_separator": ",", "key_separator": ":", "whitespace_flexible": False, "whitespace_pattern": None},
    "spaced": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "whitespace_pattern": None},
    # bounded: a model that likes blanks could else write nothing more for the rest of its tokens
    "flexible": {"item_separator": ",", "key_separator": ":", "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,40}"},
}
#: How the library names what it refuses: in quotes, behind a colon, or as the first word.
_NAMED = re.compile(r"""["']([^"']+)["']|: ([\w-]+)$|^(\w+)""")
_UNKNOWN = re.compile(r"^Unimplemented keys: \[(.*)\]$")


@dataclass(frozen=True)
class SchemaProblem:
    """Something in a schema that cannot be kept.

    Attributes:
        message: What it is.
        path: Where it stands in the schema, as keys and list positions; as far as that is known.
    """

    message: str
    path: tuple[str | int, ...] = ()


def json_grammar(schema: Any, whitespace: Whitespace = "compact", *, one_of_as_any_of: bool = False) -> str:
    """The grammar of the JSON texts that a schema accepts, as llguidance reads it."""
    return _grammar(json.dumps(schema, ensure_ascii=False), whitespace, one_of_as_any_of)


@lru_cache(maxsize=64)
def _grammar(schema: str, whitespace: Whitespace, one_of_as_any_of: bool) -> str:
    from llguidance import LLMatcher

    options: Any = {**_STYLES[whitespace], "coerce_one_of": one_of_as_any_of, "lenient": False}
    return LLMatcher.grammar_from_json_schema(schema, overrides=options)


def schema_problem(schema: Any, *, one_of_as_any_of: bool = False) -> SchemaProblem | None:
    """What keeps a schema from being compiled: a mistake in it, or a feature that is not supported."""
    from llguidance import LLMatcher

    if not isinstance(schema, Mapping | bool):
        return SchemaProblem(f"a schema is a mapping, not {type(schema).__name__}")
    grammar = json_grammar(schema, one_of_as_any_of=one_of_as_any_of)
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if not failed:
        return None
    message = " ".join(messages[0].split())
    path = _place(schema, message)
    if (unknown := _UNKNOWN.match(message)) is not None:
        message = f"not supported: {unknown[1].replace(chr(34), chr(39))}"
    elif message.startswith("oneOf"):
        message = "not supported: 'oneOf' whose arms are not seen to exclude each other (see one_of_as_any_of)"
    return SchemaProblem(message, path)


def _place(schema: Any, message: str) -> tuple[str | int, ...]:
    """The first place of the schema that holds what a message quotes."""
    names = [next(filter(None, groups)) for groups in _NAMED.findall(message)]
    if message.startswith("regex parse error"):
        names = ["pattern", "patternProperties"]
    if message.startswith("Pointer"):
        names = [f"#{name}" for name in names]
    for name in names:
        for path, key, value in _walk(schema):
            if name in (key, value):
                return (*path, key)
    return ()


def _walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str | int, Any]]:
    """Every entry of a schema: where its holder stands, its key, its value."""
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield path, key, inner
        yield from _walk(inner, (*path, key))
