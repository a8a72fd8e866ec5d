"""JSON lines: one record a line; corpora of BEIR and FlashRAG as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import field_validator

from ragdecode.documents.document import Document, Value
from ragdecode.documents.encoding import binary_reason, decode, refuse_known, strictly, without_mark
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.records import Records, scalars
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_TEXT = ("text", "content", "body", "contents")
_ID = ("_id", "id")
#: field of FlashRAG and Pyserini whose first line is the title
_TITLED = "contents"
_ONE_LINE = 300


class JsonlSettings(Settings):
    """Which fields of a line are what."""

    text: tuple[str, ...] | str = ()
    """Field of the text, or fields that are joined by blank lines; the first one there is of ``text``, ``content``,
    ``body`` and ``contents`` if left out. A dot leads into an object: ``document.body``."""
    title: str = "title"
    """Field of the title; it comes first in the record's text."""
    id: str | None = None
    """Field of the record's name; ``_id`` or ``id`` if left out, else the number of the line."""
    metadata: tuple[str, ...] | None = None
    """Fields that its passages carry; if left out, all others that are numbers, truth values or short texts, those
    inside an object ``metadata`` among them."""

    @field_validator("text", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


@register("reader", "jsonl", JsonlSettings)
class JsonlReader:
    """One JSON object a line, each a record; broken lines are told, the good ones read."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def __init__(self, settings: JsonlSettings) -> None:
        self.settings = settings
        self.used = {*(settings.text or _TEXT), settings.title, settings.id, *_ID}  # and so no metadata

    def read(self, data: bytes) -> Document:
        """Title, blank line and text of each record; a blank line between two.

        Raises:
            UnreadableError: No line of it can be read.
        """
        refuse_known(data)
        body = without_mark(data)
        if body is None:
            body = decode(data).encode()
        records = Records()
        for number, line in enumerate(body.split(b"\n"), start=1):
            if line.strip():
                self._line(line, number, records)
        if not records.records and b"\0" in body[:4096]:
            raise UnreadableError(binary_reason(body))
        return records.document()

    def _line(self, line: bytes, number: int, records: Records) -> None:
        place = f"line {number}"
        try:
            row = _parsed(line)
            title, body = self._text(row)
        except UnreadableError as error:
            records.flaw(place, str(error))
            return
        records.add(self._name(row) or str(number), title, body, self._metadata(row), place)

    def _text(self, row: Mapping[str, Any]) -> tuple[str, str]:
        title = _as_text(_look(row, self.settings.title)) or ""
        if self.settings.text:
            texts = [_as_text(_look(row, name)) for name in self.settings.text]
            if all(text is None for text in texts) and not title:
                raise UnreadableError(_without(self.settings.text, row))
            return title, "\n\n".join(text for text in texts if text)
        found = {name: text for name in _TEXT if (text := _as_text(row.get(name))) is not None}
        name = next((name for name, text in found.items() if text.strip()), None)
        if name is None:
            if not found and not title:
                raise UnreadableError(_without(_TEXT, row))
            return title, ""
        if name == _TITLED and not title:
            return _first_line(found[name])
        return title, found[name]

    def _name(self, row: Mapping[str, Any]) -> str:
        for field in (self.settings.id,) if self.settings.id else _ID:
            value = _look(row, field)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
        return ""

    def _metadata(self, row: Mapping[str, Any]) -> dict[str, Value]:
        if self.settings.metadata is not None:
            named = [(name, _joined(_look(row, name))) for name in self.settings.metadata]
            return scalars(named, longest=10**9)
        inner = row.get("metadata")
        fields = [*(inner.items() if isinstance(inner, dict) else ()), *row.items()]
        return scalars((name, value) for name, value in fields if name not in self.used)


def _parsed(line: bytes) -> dict[str, Any]:
    text = strictly(line, "utf-8")
    try:
        row = json.loads(text, parse_constant=lambda name: None)  # NaN stands for a missing value
    except RecursionError as error:
        raise UnreadableError("its JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise UnreadableError(f"no valid JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:  # a number of thousands of digits
        raise UnreadableError(f"no valid JSON: {str(error)[:100]}") from error
    if not isinstance(row, dict):
        raise UnreadableError(f"expected a JSON object, found {_kind(row)}")
    return row


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _look(row: Mapping[str, Any], name: str) -> Any:
    """The field of that name, else the value that its dots lead to, else None."""
    if name in row:
        return row[name]
    value: Any = row
    for step in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def _as_text(value: Any) -> str | None:
    """Text, numbers and lists of texts as text; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n\n".join(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    return None


def _joined(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(map(str, value))
    return value


def _first_line(text: str) -> tuple[str, str]:
    """Title and text of a field that has its title on the first line, in quotes or not."""
    head, _, rest = text.strip().partition("\n")
    if not rest.strip() or len(head) > _ONE_LINE:
        return "", text
    head = head.strip()
    quoted = len(head) > 1 and head[0] == head[-1] == '"'
    return head[1:-1] if quoted else head, rest


def _without(wanted: Iterable[str], row: Mapping[str, Any]) -> str:
    has = ", ".join(repr(name[:40]) for name in list(row)[:8]) or "none at all"
    return f"no text in it: expected a field {' or '.join(map(repr, wanted))}, found the fields {has}"
