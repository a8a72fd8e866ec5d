"""Where sentences begin and end, with a list of abbreviations (English) whose full stop ends none."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

#: a possible end: closing punctuation with its quotes and brackets, then a blank or the end of the text ...
_END = r"""(?<![.!?…])[.!?…]++["'”’»)\]*_]*+(?=\s|$)"""
#: ... which East Asian writing leaves out ...
WIDE_MARKS = ("。", "！", "？")
WIDE_CLOSERS = "”’」』）"
_WIDE_END = rf"[。！？]+[{WIDE_CLOSERS}]*"
#: ... or a paragraph's end, or a line's end before the next item of a list
_LINE_END = r"\n\s*\n|\n(?=[ \t]*(?:[-*•–]|\d{1,3}[.)])\s)"
_CANDIDATE = re.compile(f"{_WIDE_END}|{_END}|{_LINE_END}")
#: every candidate holds one of these
MARKS = frozenset(".!?…\n。！？")
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
    if mark[0] not in ".!?…":
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

    No sentence goes on over the end of a paragraph or of a list's item. Blank text has none. Takes time in
    proportion to the text.
    """
    end = len(text) if end is None else end
    spans: list[tuple[int, int]] = []
    begin = start

    def add(border: int) -> None:
        piece = text[begin:border]
        core = piece.strip()
        if core:
            first = begin + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(core)))

    for match in _CANDIDATE.finditer(text, start, end):
        if _ends(text, begin, match, end):
            add(match.end())
            begin = match.end()
    add(end)
    return spans
