"""Printed citations: behind each sentence the numbers of the passages that support it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.pipeline.answer import Sentence
from ragdecode.pipeline.passage import Passage

#: Numbers in brackets that stand for themselves, ``[1][3]``, not an index as in ``a[3]``; with the blank before them.
_RUN = re.compile(r"(\s?)(?<![\w)\]])((?:\[\d{1,4}\])+)")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Citation:
    """A passage that an answer cites.

    Attributes:
        number: Its number, counted from 1 in the order of the answer's passages.
        passage: Its id.
        source: Where it comes from, for people.
    """

    number: int
    passage: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``ask --json``."""
        return {"number": self.number, "passage": self.passage, "source": self.source}


def numbers_of(sentence: Sentence, passages: Sequence[Passage]) -> list[int]:
    """Numbers of the passages that support a sentence, ascending; those that are not among the evidence have none."""
    places = {passage.id: number for number, passage in reversed(list(enumerate(passages, start=1)))}
    return sorted({places[name] for name in sentence.supported_by if name in places})


def cite(text: str, sentence: Sentence, start: int, passages: Sequence[Passage]) -> str:
    """The answer from an offset to the end of a sentence, with the sentence's numbers behind it.

    A number that the model wrote itself is not put there twice, and goes where there is no passage of that number.
    """

    def known(match: re.Match[str]) -> str:
        kept = [number for number in _NUMBER.findall(match[2]) if 1 <= int(number) <= len(passages)]
        return match[1] + "".join(f"[{number}]" for number in kept) if kept else ""

    piece = _RUN.sub(known, text[start : sentence.end])
    written = _written(text[sentence.start : sentence.end])
    numbers = [number for number in numbers_of(sentence, passages) if number not in written]
    return piece + (f" {''.join(f'[{number}]' for number in numbers)}" if numbers else "")


def cited_answer(text: str, sentences: Iterable[Sentence], passages: Sequence[Passage]) -> str:
    """An answer with the numbers of its passages behind each sentence."""
    pieces, place = list[str](), 0
    for sentence in sentences:
        pieces.append(cite(text, sentence, place, passages))
        place = sentence.end
    return "".join([*pieces, text[place:]])


def citations(cited: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The passages whose numbers stand in a cited answer, by number."""
    numbers = _written(cited)
    return tuple(
        Citation(number, passage.id, passage.source)
        for number, passage in enumerate(passages, start=1)
        if number in numbers
    )


def _written(text: str) -> set[int]:
    """Numbers that stand in brackets."""
    return {int(number) for run in _RUN.finditer(text) for number in _NUMBER.findall(run[2])}
