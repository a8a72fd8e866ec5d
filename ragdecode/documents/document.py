"""A document as readers give it: its full text and the marks of its structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: what a value of a record's or passage's metadata may be
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
        level: 1 for the outermost.
        text: Its words, without markup.
        start: Character offset of the heading in the document's text.
        end: Offset just behind it, where its body begins.
    """

    level: int
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Page:
    """A page of a paged document.

    Attributes:
        number: 1-based.
        start: Character offset of its first character in the document's text.
    """

    number: int
    start: int


@dataclass(frozen=True)
class Record:
    """A document of its own within a file of many: a line of JSONL, a row of CSV. Passages never cross records.

    Attributes:
        name: Its id, or its number in the file as text.
        start: Character offset of its first character in the document's text.
        title: Its title; comes first in the heading path of its passages. Empty if it has none.
        metadata: Its other fields; copied to its passages.
    """

    name: str
    start: int
    title: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """A stretch that is cut only where it is too long for a passage: a table, a code block, an item of a list.

    Attributes:
        start: Character offset of its first character in the document's text.
        end: Offset just behind its last one.
        by_lines: Where it must be cut: between lines rather than between sentences.
    """

    start: int
    end: int
    by_lines: bool = False


@dataclass(frozen=True)
class Flaw:
    """A part of a file that could not be read, while the rest could.

    Attributes:
        place: Where in the file: ``line 7``.
        reason: Shown to the user.
    """

    place: str
    reason: str


@dataclass(frozen=True)
class Document:
    r"""What a reader makes of a file.

    Attributes:
        text: The full text, with ``\n`` as the only line end. Every offset counts its characters.
        headings: In order of appearance.
        pages: In order; empty for formats without pages.
        records: In order; empty for files that are one document.
        metadata: What is known of the whole file; copied to its passages, below the metadata of a record.
        blocks: What should stay whole, by start, the outer before the inner; they may hold one another, but not cross.
        problems: What of the file could not be read; reported beside the files that are skipped.
    """

    text: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    records: tuple[Record, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    problems: tuple[Flaw, ...] = ()
