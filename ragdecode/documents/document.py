"""A document as readers give it: its full text and the marks of its structure."""

from __future__ import annotations

from dataclasses import dataclass


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
class Document:
    r"""What a reader makes of a file.

    Attributes:
        text: The full text, with ``\n`` as the only line end. Every offset counts its characters.
        headings: In order of appearance.
        pages: In order; empty for formats without pages.
    """

    text: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
