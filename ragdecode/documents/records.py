"""A file of many small documents, put together: the text, where each record lies in it, what is wrong with others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ragdecode.documents.document import Document, Flaw, Record, Value
from ragdecode.documents.encoding import clean
from ragdecode.documents.reader import UnreadableError

#: flaws of a file that are told one by one; what is more is counted
_TOLD = 20
#: longest text, in characters, that is kept as metadata unless it is asked for: metadata is copied to every passage
LONGEST = 300
#: characters of all fields and their names that are kept unless they are asked for; the first ones that fit
_MOST = 10_000
#: integers beyond are kept as text: many a program has 64 bits for them
_INTEGERS = 2**63


class Records:
    """Collects the records of a file.

    Attributes:
        flaws: What could not be read, as far as it is told one by one.
    """

    def __init__(self) -> None:
        self.flaws: list[Flaw] = []
        self.untold = 0
        self.last_untold = ""
        self.parts: list[str] = []
        self.length = 0
        self.records: list[Record] = []
        self.places: dict[str, str] = {}  # name -> place in the file
        self.copies: dict[str, int] = {}  # name -> the highest number that was put behind it

    def add(self, name: str, title: str, body: str, metadata: Mapping[str, Value], place: str) -> None:
        """A record: its title, a blank line, its body; the title alone once where the body begins with it.

        Args:
            name: Its id; a second record of the same name is named anew, and that is told.
            title: One line, or empty.
            body: Its text.
            metadata: Copied to its passages.
            place: Where it stands in the file: ``line 7``.
        """
        title, body = " ".join(clean(title).split()), clean(body).strip()
        text = body if _begins_with(body, title) else f"{title}\n\n{body}".strip()
        if not text:
            self.flaw(place, "no text in it")
            return
        name = self._named(clean(name), place)
        self.records.append(Record(name, self.length, title, metadata))
        self.parts.append(text)
        self.length += len(text) + 2

    def flaw(self, place: str, reason: str) -> None:
        """Something of the file could not be read."""
        if len(self.flaws) < _TOLD:
            self.flaws.append(Flaw(place, reason))
        else:
            self.untold, self.last_untold = self.untold + 1, f"the last is {place}: {reason}"

    def document(self) -> Document:
        """The whole file.

        Raises:
            UnreadableError: It has no record; with the first reason.
        """
        flaws = list(self.flaws)
        if not self.records:
            first = f"; first {flaws[0].place}: {flaws[0].reason}" if flaws else ""
            raise UnreadableError(f"no record in it can be read{first}")
        if self.untold:
            flaws.append(Flaw(f"{self.untold} more places", self.last_untold))
        return Document("\n\n".join(self.parts), records=tuple(self.records), problems=tuple(flaws))

    def _named(self, name: str, place: str) -> str:
        if name not in self.places:
            self.places[name] = place
            return name
        number = self.copies.get(name, 1) + 1
        while f"{name}#{number}" in self.places:
            number += 1
        self.copies[name] = number
        new = f"{name}#{number}"
        self.places[new] = place
        self.flaw(place, f"read under the name {new!r}: {name!r} is the id of {self.places[name]} too")
        return new


def _begins_with(body: str, title: str) -> bool:
    """Whether the title is the first line of the body, or its first sentence."""
    behind = body[len(title) :].lstrip(" ")
    return body.startswith(title) and (not behind or behind[0] == "\n" or title.endswith((".", "!", "?")))


def scalars(fields: Iterable[tuple[str, Any]], longest: int = LONGEST) -> dict[str, Value]:
    """The fields whose values can be metadata: text (not above ``longest`` characters), numbers, truth values."""
    kept: dict[str, Value] = {}
    room = max(_MOST, longest)
    for name, value in fields:
        scalar = _scalar(value, longest)
        size = len(name) + len(str(scalar))
        if scalar is not None and size <= room:
            kept[clean(name)] = scalar
            room -= size
    return kept


def _scalar(value: Any, longest: int) -> Value:
    """What is kept of a value; None if nothing."""
    if isinstance(value, str):
        return clean(value) if value and len(value) <= longest else None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INTEGERS <= value < _INTEGERS else str(value)
    return value if isinstance(value, float) and math.isfinite(value) else None
