"""Where sentences begin and end, in many languages, with a list of abbreviations whose full stop ends none.

A heading, an item of a list and a fenced block of code are each a sentence of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import pairwise

#: a possible end: closing punctuation with its quotes and brackets, then a blank or the end of the text ...
_MARKS = ".!?…؟۔։።"
_END = rf"""(?<![{_MARKS}])[{_MARKS}]++["'”’»)\]*_]*+(?=\s|$)"""
#: ... which East Asian writing, and often that with dandas, leaves out ...
WIDE_MARKS = ("。", "！", "？", "｡", "।", "॥", "။", "។")
WIDE_CLOSERS = "”’」』）"
_WIDE_END = rf"[{''.join(WIDE_MARKS)}]+[{WIDE_CLOSERS}]*"
#: ... or a paragraph's end, or a line's end before the next item of a list, a heading or a block of code
_LINE_END = r"\n\s*\n|\n(?=[ \t]*(?:(?:[-*•–]|\d{1,3}[.)]|#{1,6})\s|```|~~~))"
_CANDIDATE = re.compile(f"{_WIDE_END}|{_END}|{_LINE_END}")
#: every candidate holds one of these
MARKS = frozenset((*_MARKS, "\n", *WIDE_MARKS))
#: what is one sentence whatever it holds, where a sentence begins: a heading's line ...
_HEADING = re.compile(r"\s*#{1,6}[ \t][^\n]*")
#: ... and a block of code, up to a line with as many signs, or to the end
_FENCE = re.compile(r"\s*(```+|~~~+)[^`\n]*(?:\n|$)")
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘«]+$")
#: characters looked at for the word before a full stop: no abbreviation is as long
_LONGEST = 64
_WORD_AFTER = re.compile(r"\s*[\"'“‘«(\[*_]*([^\s]*)")
_ITEM_NUMBER = re.compile(r"[\s*_]*\d{1,3}")
_INITIALS = re.compile(r"(?:[A-Za-z]\.)*[A-Z]")


@cache
def _words() -> dict[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    section: set[str] = set()
    text = files("ragdecode.text").joinpath("abbreviations.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), set())
        elif not line.startswith("#"):
            section.update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


def _ends(text: str, start: int, match: re.Match[str], end: int) -> bool:
    """Whether a candidate ends the sentence that began at ``start``."""
    mark = match.group()
    if mark[0] not in _MARKS:
        return True  # a line's end, or a wide mark
    following = _WORD_AFTER.match(text, match.end(), end)
    after = following.group(1) if following else ""
    if after[:1].islower():
        return False
    if not mark.startswith(".") or mark.startswith(".."):
        return True
    if _ITEM_NUMBER.fullmatch(text, start, match.start()):
        return False  # '1. First'
    if not after:
        return True
    before = _WORD_BEFORE.search(text, max(start, match.start() - _LONGEST), match.start())
    word = before.group() if before else ""
    folded = word.casefold()
    words = _words()
    if folded in words["never"]:
        return False
    if folded in words["number"]:
        return not after[:1].isdigit()
    if folded in words["seldom"] or (_INITIALS.fullmatch(word) and word != "I"):
        return after.strip(".,;:!?").casefold() in words["starters"]
    return True


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Sentences of ``text[start:end]``, without the blanks around them, as offsets from the beginning of ``text``.

    No sentence goes on over the end of a paragraph, of a list's item or of a heading. Blank text has none. Takes time
    in proportion to the text.
    """
    end = len(text) if end is None else end
    borders = _borders(text, start, end)
    spans: list[tuple[int, int]] = []
    for begin, border in pairwise([start, *borders, end]):
        piece = text[begin:border]
        if core := piece.strip():
            first = begin + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(core)))
    return spans


def _borders(text: str, start: int, end: int) -> Iterator[int]:
    """Where sentences end, in order; the end of the text is left out."""
    begin = start
    while begin < end:
        border = _whole(text, begin, end)
        if border is None:
            found = _CANDIDATE.finditer(text, begin, end)
            border = next((match.end() for match in found if _ends(text, begin, match, end)), end)
        if border < end:
            yield border
        begin = border


def _whole(text: str, begin: int, end: int) -> int | None:
    """Where the heading or the block of code ends that begins here; None if there is none."""
    if heading := _HEADING.match(text, begin, end):
        return heading.end()
    fence = _FENCE.match(text, begin, end)
    if fence is None:
        return None
    signs = fence[1]
    closing = re.compile(rf"^[ \t]*{signs[0]}{{{len(signs)},}}[ \t]*$", re.MULTILINE).search(text, fence.end(), end)
    return closing.end() if closing else end
