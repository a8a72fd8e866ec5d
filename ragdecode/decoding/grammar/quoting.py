"""Quotes as a grammar: free text, and between two marks nothing but a span of one of the passages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

Boundaries = Literal["words", "characters"]

#: Scripts that put no blanks between words: every character is one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORDS = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+|\\s+|[^\\w\\s]")


@dataclass(frozen=True)
class Quoting:
    """How quotes are written.

    Attributes:
        opened: Mark before a quote.
        closed: Mark behind it.
        boundaries: Where a quote may begin and end.
        free: Whether there may be other text than quotes (and a blank or line end between two).
        least: Quotes that an answer must hold.
        most: Quotes that it may hold; None is any number.
    """

    opened: str = "“"
    closed: str = "”"
    boundaries: Boundaries = "words"
    free: bool = True
    least: int = 0
    most: int | None = None


def quote_grammar(quoting: Quoting, passages: Sequence[str], vocabulary: Vocabulary) -> str:
    """The grammar of the answers whose quotes are spans of a passage, as llguidance reads it.

    What a passage says is matched byte by byte, along a suffix automaton of its pieces (words, or characters): it does
    not matter how the passage was tokenised in the prompt. Pieces that the vocabulary cannot write part a passage in
    two. Without a usable passage no quote can be begun.
    """
    from llguidance import LLMatcher

    opened, closed = _literal(quoting.opened), _literal(quoting.closed)
    pieces = [part for text in passages for part in spans_of(quoting.boundaries, text, vocabulary)]
    if not pieces or quoting.most == 0:
        return LLMatcher.grammar_from_lark(f"start: ANSWER\nANSWER: {_without(quoting.opened)}")
    names = [f"P{index}" for index in range(len(pieces))]
    allowed = [_without(mark) for mark in dict.fromkeys((quoting.opened, quoting.closed))]
    most = quoting.most
    if quoting.free:
        answer = f"OUTSIDE {_times('QUOTE OUTSIDE', quoting.least, most)}"
    else:
        answer = f"QUOTE {_times('BETWEEN QUOTE', quoting.least - 1, None if most is None else most - 1)}"
    lines = [
        "start: ANSWER",
        f"ANSWER: {answer}",
        f"OUTSIDE: {_without(quoting.opened)}",
        r"BETWEEN: /[ \n]/",
        f"QUOTE: {opened} SPAN {closed}",
        # not blank, and without the marks themselves
        f"SPAN: ({' | '.join(names)}) & {' & '.join([*allowed, NOT_BLANK])}",
        *(
            f"{name}: %regex {json.dumps({'substring_chunks': chunks})}"
            for name, chunks in zip(names, pieces, strict=True)
        ),
    ]
    return LLMatcher.grammar_from_lark("\n".join(lines))


def _times(what: str, least: int, most: int | None) -> str:
    """Something that often, as a terminal says it; it knows no "0 times"."""
    return "" if most == 0 else f"({what}){{{max(least, 0)},{'' if most is None else most}}}"


NOT_BLANK = r"/(?s:.*)\S(?s:.*)/"


def spans_of(boundaries: Boundaries, text: str, vocabulary: Vocabulary) -> Iterator[list[str]]:
    """A passage as runs of pieces that the vocabulary can write; quotes begin and end between pieces."""
    run: list[str] = []
    known: dict[str, bool] = {}
    for piece in WORDS.findall(text) if boundaries == "words" else text:
        if piece not in known:
            known[piece] = all(_writable(character, vocabulary) for character in piece)
        if known[piece]:
            run.append(piece)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _writable(character: str, vocabulary: Vocabulary) -> bool:
    """Whether tokens can write a character from wherever the one before it ended."""
    try:
        data = character.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return data in vocabulary.ids or all(bytes([byte]) in vocabulary.ids for byte in data)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _without(mark: str) -> str:
    """Any text that does not hold a mark, as a terminal."""
    if len(mark) == 1:
        return f"/[^{re.escape(mark)}]*/".replace("/[^/]", "/[^\\/]")
    slash = re.escape(mark).replace("/", r"\/")
    return f"(/(?s:.*)/ & ~/(?s:.*){slash}(?s:.*)/)"


@dataclass(frozen=True)
class Quote:
    """A quote in an answer.

    Attributes:
        start: Offset of its first character in the answer, behind the mark.
        end: Offset behind its last one.
        closed: Whether its closing mark stands in the answer; an answer that was cut may lack it.
    """

    start: int
    end: int
    closed: bool


def find_quotes(text: str, opened: str, closed: str) -> Iterator[Quote]:
    """The quotes of an answer, from the left."""
    place = text.find(opened)
    while place >= 0:
        start = place + len(opened)
        end = text.find(closed, start)
        yield Quote(start, len(text) if end < 0 else end, end >= 0)
        if end < 0:
            return
        place = text.find(opened, end + len(closed))


def source_of(quote: str, passages: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The first passage that holds a quote, and where: ``passage`` (its id), ``passage_start``, ``passage_end``."""
    for identity, text in passages:
        start = text.find(quote)
        if start >= 0:
            return {"passage": identity, "passage_start": start, "passage_end": start + len(quote)}
    return {"passage": None, "passage_start": None, "passage_end": None}


def overlaps_itself(mark: str) -> bool:
    """Whether two of a mark could overlap: then it would not be clear where a quote begins or ends."""
    return any(mark.startswith(mark[shift:]) for shift in range(1, len(mark)))
