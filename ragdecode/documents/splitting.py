"""Documents to passages: along headings, then paragraphs, then sentences, then lines, words, tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ragdecode.documents.document import Document, Heading, Record, Value
from ragdecode.documents.passage import Passage, passage_id
from ragdecode.documents.tokens import TokenOffsets, TokenTable
from ragdecode.documents.units import Span, Units
from ragdecode.spec.index import SplitSpec

_SPACE = re.compile(r"\s+")
#: characters of a heading, and of a path of headings: every passage below carries them
_HEADING, _PATH = 300, 1000


def split(document: Document, source: str, spec: SplitSpec, token_offsets: TokenOffsets) -> list[Passage]:
    """Split a document.

    Every character that is not white space is in at least one passage, and ``document.text[p.start:p.end]`` is
    the passage's text. Passages do not cross headings, except that a section shorter than a quarter of the
    limit is joined with the next one where both fit, and a bare heading always goes with what follows it.

    Args:
        document: What a reader made of the file.
        source: File, relative to the corpus folder.
        spec: Longest passage and overlap, in tokens.
        token_offsets: Character offsets of the tokens of a text.

    Returns:
        The passages, in order of their start.
    """
    text = document.text
    table = TokenTable(text, token_offsets)
    headings = _Headings(document)
    passages: list[Passage] = []
    records = _Records(document)
    units = Units(document, spec.tokens, table)
    for section in _sections(document, spec, table):
        for start, end in _windows(text, units.of(section), spec, table):
            inner = text[start:end].strip()
            if not inner:
                continue
            first = start + len(text[start:end]) - len(text[start:end].lstrip())
            last = first + len(inner)
            if passages and last <= passages[-1].end:  # an overlap followed by white space: nothing new
                continue
            passages.append(
                Passage(
                    id=passage_id(source, first, inner),
                    text=inner,
                    source=source,
                    page=_page(document, first),
                    heading=records.heading(first, headings.path(first, last)),
                    start=first,
                    end=last,
                    tokens=table.count(first, last),
                    record=records.name(first),
                    attributes=records.metadata(first),
                )
            )
    return passages


def _sections(document: Document, spec: SplitSpec, table: TokenTable) -> Iterator[Span]:
    """Partition of the text at its records and headings; small sections of a record joined."""
    walls = {record.start for record in document.records}
    borders = sorted({0, len(document.text), *walls, *(heading.start for heading in document.headings)})
    ends = {heading.start: heading.end for heading in document.headings}
    start, bare = 0, True
    for first, behind in pairwise(borders):
        joined = bare or (table.count(start, first) < spec.tokens // 4 and table.count(start, behind) <= spec.tokens)
        if first > start and (first in walls or not joined):
            yield start, first
            start = first
        body = ends.get(first, first)
        is_bare = not document.text[body:behind].strip()
        bare = is_bare and (bare or start == first)
    if borders[-1] > start:
        yield start, borders[-1]


def _windows(text: str, units: Iterator[Span], spec: SplitSpec, table: TokenTable) -> Iterator[Span]:
    """Packs consecutive units up to the limit; each window begins with the end of the one before."""
    start = end = -1
    for first, behind in units:
        if start < 0:
            start = first
        elif table.count(start, behind) > spec.tokens:
            yield start, end
            room = spec.tokens - table.count(first, behind)
            start = _word_start(text, table.backward(first, max(0, min(spec.overlap, room)), start), first)
        end = behind
    if end > start >= 0:
        yield start, end


def _word_start(text: str, start: int, end: int) -> int:
    """The first start of a word in ``text[start:end]``; ``start`` itself where words have no spaces between."""
    if start == 0 or text[start - 1].isspace():
        return start
    space = _SPACE.search(text, start, end)
    return space.end() if space else start


def _page(document: Document, offset: int) -> int | None:
    at = bisect_right(document.pages, offset, key=lambda page: page.start)
    return document.pages[at - 1].number if at else None


class _Headings:
    """Finds the headings above a place."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.headings = document.headings
        self.starts = [heading.start for heading in document.headings]
        self.walls = [record.start for record in document.records]
        self.paths = [""]  # by number of headings passed
        open_: list[Heading] = []
        for heading in document.headings:
            if open_ and not self._of_one_record(open_[-1].start, heading.start):
                open_.clear()
            while open_ and open_[-1].level >= heading.level:
                open_.pop()
            open_.append(heading)
            self.paths.append(_path(open_))

    def path(self, start: int, end: int) -> str:
        """Headings above the first body text in a passage: a title with its first section counts as that section."""
        passed = bisect_right(self.starts, start)
        position = max(start, min(self.headings[passed - 1].end, end)) if passed else start
        while passed < len(self.headings) and self.starts[passed] < end:
            if self.text[position : self.starts[passed]].strip():
                break
            position = max(position, min(self.headings[passed].end, end))
            passed += 1
        if passed and not self._of_one_record(self.starts[passed - 1], start):
            return ""
        return self.paths[passed]

    def _of_one_record(self, first: int, second: int) -> bool:
        return bisect_right(self.walls, first) == bisect_right(self.walls, second)


class _Records:
    """Finds the record in which a place lies."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.starts = [record.start for record in document.records]

    def at(self, offset: int) -> Record | None:
        """The record; None in a file that is one document."""
        passed = bisect_right(self.starts, offset)
        return self.document.records[passed - 1] if passed else None

    def name(self, offset: int) -> str:
        """Its name."""
        record = self.at(offset)
        return record.name if record else ""

    def heading(self, offset: int, below: str) -> str:
        """The heading path, with the record's title at its head."""
        record = self.at(offset)
        return " > ".join(part for part in (_short(record.title) if record else "", below) if part)

    def metadata(self, offset: int) -> dict[str, Value]:
        """Metadata of the file and the record."""
        record = self.at(offset)
        return {**self.document.metadata, **(record.metadata if record else {})}


def _path(headings: Sequence[Heading]) -> str:
    """Headings, the outermost first, joined; of a path that is too long only the innermost ones."""
    parts: list[str] = []
    room = _PATH
    for heading in reversed(headings):
        part = _short(heading.text)
        if room < len(part):
            parts.append("…")
            break
        room -= len(part) + 3
        parts.append(part)
    return " > ".join(reversed(parts))


def _short(text: str) -> str:
    return text if len(text) <= _HEADING else text[: _HEADING - 1].rstrip() + "…"
