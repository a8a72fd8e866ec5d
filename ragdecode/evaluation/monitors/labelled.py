"""Answers in which somebody has marked what their evidence does not support."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: What a row can be used for: its sentences, the answer as a whole, or neither.
Use = Literal["sentences", "answer", "nothing"]


@dataclass(frozen=True)
class Span:
    """A marked part of an answer.

    Attributes:
        start: Its first character.
        end: One beyond its last.
        kind: What is wrong with it, in the words of the data.
    """

    start: int
    end: int
    kind: str = ""


@dataclass(frozen=True)
class Labelled:
    """A labelled answer.

    Attributes:
        id: Its name in the data.
        question: What was asked; empty for tasks without a question.
        passages: The evidence.
        response: The answer.
        unfaithful: Whether anything in it is unsupported.
        spans: What is, where its place is known.
        use: ``answer`` where something is unsupported but its place is not known.
        group: Answers with a passage in common have the same group.
        model: Who wrote it.
        place: File and line.
    """

    id: str
    question: str
    passages: tuple[str, ...]
    response: str
    unfaithful: bool
    spans: tuple[Span, ...] = ()
    use: Use = "sentences"
    group: int = 0
    model: str = ""
    place: str = ""

    def touches(self, start: int, end: int) -> bool:
        """Whether a letter or digit of ``response[start:end]`` is in a marked part."""
        return any(
            any(letter.isalnum() for letter in self.response[max(start, span.start) : min(end, span.end)])
            for span in self.spans
        )


@dataclass
class Tally:
    """What was wrong with data, counted, with the places of the first.

    Attributes:
        counts: Rows or labels by what is wrong with them.
        places: Some of their places.
    """

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, place: str) -> None:
        """Count one."""
        self.counts[what] = self.counts.get(what, 0) + 1
        known = self.places.setdefault(what, [])
        if len(known) < 3:
            known.append(place)

    def lines(self) -> list[str]:
        """One line a kind."""
        found = []
        for what, count in self.counts.items():
            shown = ", ".join(self.places[what])
            found.append(f"{count:,} {what} ({shown}{', ...' if count > len(self.places[what]) else ''})")
        return found


@dataclass(frozen=True)
class LabelledData:
    """Labelled answers of one source.

    Attributes:
        name: Its name, from the file or folder.
        rows: The answers that are of use, grouped.
        tally: What was left out.
    """

    name: str
    rows: tuple[Labelled, ...]
    tally: Tally


def group_by_passages(passages: Iterable[Sequence[str]]) -> list[int]:
    """A number for each row; rows that share a passage, if only through other rows, have the same.

    Passages are compared without regard to case and blanks.
    """
    parent: list[int] = []
    owners: dict[str, int] = {}

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for row, texts in enumerate(passages):
        parent.append(row)
        for text in texts:
            key = " ".join(text.casefold().split())
            parent[root(owners.setdefault(key, row))] = root(row)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(row), len(numbers)) for row in range(len(parent))]
