"""The block of metadata at the top of a Markdown file: YAML between ``---``, or TOML between ``+++``."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ragdecode.documents.document import Value
from ragdecode.documents.records import scalars

_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
#: longer blocks are taken for front matter, but not read
_LONGEST = 20_000
_BRACKETS = 300


def front_matter(text: str) -> tuple[int, dict[str, Value]]:
    """Where the body begins (0 if there is no front matter), and the short scalar fields of the block.

    A block between ``---`` that holds no YAML mapping is a text between two rules, and no front matter.
    """
    if block := _TOML.match(text):
        return block.end(), _fields(_toml(block.group(1)))
    block = _YAML.match(text)
    if block is None:
        return 0, {}
    fields = _yaml(block.group(1))
    return (0, {}) if fields is None else (block.end(), _fields(fields))


def _yaml(source: str) -> Mapping[str, Any] | None:
    """The mapping; empty if it cannot be read; None if it is something else than a mapping."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    brackets = source.count("[") + source.count("{")
    # merged keys can grow without bound; the time for brackets grows with their square
    if not source.strip() or len(source) > _LONGEST or "<<" in source or brackets > _BRACKETS:
        return {}
    try:
        loaded = YAML(typ="safe", pure=True).load(source)
    except (YAMLError, ValueError, TypeError, RecursionError):  # ValueError: a date that there is not
        return {} if re.search(r"^[\w-]+:", source, re.MULTILINE) else None
    return loaded if isinstance(loaded, Mapping) else None


def _toml(source: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(source) if len(source) <= _LONGEST else {}
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _fields(block: Mapping[str, Any]) -> dict[str, Value]:
    def value(raw: Any) -> Any:
        return raw.isoformat() if isinstance(raw, (datetime.date, datetime.datetime)) else raw

    return scalars((str(name), value(raw)) for name, raw in block.items())
