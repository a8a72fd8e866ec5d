"""CSV and TSV: one record a row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from ragdecode.documents.document import Document, Value
from ragdecode.documents.encoding import check_encoding, decode
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.records import Records, scalars
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
_DELIMITERS = (",", "\t", ";", "|")
#: of a file of one column: a character that no text has
_NONE = "\x1f"
#: characters and rows by which the delimiter is found
_SAMPLE = 65_536
_SAMPLE_ROWS = 50
_ID = ("_id", "id")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}", re.ASCII)


class CsvSettings(Settings):
    """Which columns of a row are what."""

    text: tuple[str, ...] | str = ()
    """Column of the text, or columns that are joined by blank lines; if left out, all columns, a line
    ``name: value`` each."""
    title: str = "title"
    """Column of the title; it comes first in the record's text."""
    id: str | None = None
    """Column of the record's name; ``_id`` or ``id`` if left out, else the number of the line."""
    metadata: tuple[str, ...] | None = None
    """Columns that its passages carry; if left out, all others with short values. Numbers are carried as numbers."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a file whose first row holds none."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Character between two fields; found by itself among comma, tab, semicolon and bar if left out."""
    encoding: str | None = None
    """Encoding of the file, unless it begins with a byte order mark; UTF-8 if left out."""

    @field_validator("text", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str | None) -> str | None:
        return check_encoding(encoding)

    @field_validator("delimiter")
    @classmethod
    def _delimits(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and delimiter in '\r\n"':
            raise ValueError("neither a line end nor a quote can stand between two fields")
        return delimiter


@register("reader", "csv", CsvSettings)
class CsvReader:
    """One row a record under a header of names; rows that do not fit the header are told, the others read."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def __init__(self, settings: CsvSettings) -> None:
        self.settings = settings
        self.used = {*settings.text, settings.title, settings.id, *_ID}  # and so no metadata

    def read(self, data: bytes) -> Document:
        """Title, blank line and text of each row; a blank line between two.

        Raises:
            UnreadableError: It is no text, lacks a column that is asked for, or no row of it can be read.
        """
        text = decode(data, self.settings.encoding)
        # the module's limit is one for the whole process; it is only ever raised
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        rows = _rows(text, self.settings.delimiter or _delimiter(text))
        names = list(self.settings.columns) or _names(next(rows, None))
        self._check(names)
        records = Records()
        for row in rows:
            fields = _trimmed(row.fields, len(names))
            if row.problem or len(fields) != len(names):
                found = f"{len(fields)} fields, expected {len(names)} as in the header"
                records.flaw(row.place, row.problem or found)
            else:
                self._add(dict(zip(names, fields, strict=True)), row, records)
        if not records.records and not records.flaws:
            raise UnreadableError("no rows under its header")
        return records.document()

    def _check(self, names: Sequence[str]) -> None:
        for name in (*self.settings.text, *(self.settings.metadata or ())):
            if name not in names:
                raise UnreadableError(f"no column {name!r}; its columns are {', '.join(map(repr, names[:20]))}")

    def _add(self, row: dict[str, str], place: _Row, records: Records) -> None:
        title = row.get(self.settings.title, "")
        if self.settings.text:
            body = "\n\n".join(value for name in self.settings.text if (value := row[name].strip()))
        else:
            named = [(name, value.strip()) for name, value in row.items() if name != self.settings.title]
            body = "\n".join(f"{name}: {value}" for name, value in named if value)
        ids = [row.get(field, "").strip() for field in ((self.settings.id,) if self.settings.id else _ID)]
        name = next((value for value in ids if value), str(place.line))
        records.add(name, title, body, self._metadata(row), place.place)

    def _metadata(self, row: dict[str, str]) -> dict[str, Value]:
        if self.settings.metadata is not None:
            return scalars(((name, _value(row[name])) for name in self.settings.metadata), longest=10**9)
        return scalars((name, _value(value)) for name, value in row.items() if name not in self.used)


@dataclass(frozen=True)
class _Row:
    """Fields of a row, where it begins, and what is wrong with it, if anything is."""

    fields: Sequence[str]
    line: int
    last: int
    problem: str = ""

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.last <= self.line else f"lines {self.line} to {self.last}"


def _rows(text: str, delimiter: str) -> Iterator[_Row]:
    """All rows that are not empty; quotes are taken as characters where that alone makes all rows fit."""
    quoting: _Quoting = csv.QUOTE_MINIMAL
    if any(row.problem for row in _parsed(text, delimiter, quoting)):
        plain = {len(row.fields) for row in _parsed(text, delimiter, csv.QUOTE_NONE)}
        quoting = csv.QUOTE_NONE if len(plain) == 1 else quoting
    return _parsed(text, delimiter, quoting)


def _parsed(text: str, delimiter: str, quoting: _Quoting) -> Iterator[_Row]:
    """Rows in order; a broken one is told and the next begins behind it."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            end = "unexpected end" in str(error)
            reason = "a quote is opened that is never closed" if end else "text behind a closing quote"
            yield _Row((), line, reader.line_num, reason)
            continue
        if any(field.strip() for field in fields):
            yield _Row(fields, line, reader.line_num)


def _delimiter(text: str) -> str:
    """The delimiter by which most rows have as many fields as the first, at least two; `_NONE` if there is none."""
    end = len(text) if len(text) <= _SAMPLE else max(text.rfind("\n", 0, _SAMPLE), 0) or _SAMPLE
    best, chosen = (0.0, 0), _NONE
    for delimiter in _DELIMITERS:
        rows = list(islice(_parsed(text[:end], delimiter, csv.QUOTE_MINIMAL), _SAMPLE_ROWS))
        if rows and rows[0].problem:
            rows = list(islice(_parsed(text[:end], delimiter, csv.QUOTE_NONE), _SAMPLE_ROWS))
        wanted = len(rows[0].fields) if rows else 0
        if wanted > 1:
            fitting = sum(len(_trimmed(row.fields, wanted)) == wanted for row in rows) / len(rows)
            if (fitting, wanted) > best:
                best, chosen = (fitting, wanted), delimiter
    return chosen


def _names(row: _Row | None) -> list[str]:
    """Names of the columns, none empty, all different."""
    if row is None:
        raise UnreadableError("no text in it")
    if row.problem:
        raise UnreadableError(f"its header cannot be read: {row.place}: {row.problem}")
    names: list[str] = []
    taken: set[str] = set()
    for number, field in enumerate(row.fields, start=1):
        name = " ".join(field.split()) or f"column {number}"
        if name in taken:
            name = f"{name} ({number})"
        names.append(name)
        taken.add(name)
    return names


def _trimmed(fields: Sequence[str], wanted: int) -> Sequence[str]:
    """Without the empty fields that some programs write behind the last column."""
    end = len(fields)
    while end > wanted and not fields[end - 1].strip():
        end -= 1
    return fields[:end]


def _value(text: str) -> Value:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
