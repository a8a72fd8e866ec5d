"""Where the sentences of an answer begin and end, for whole texts and for text that is still being written."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import pairwise

from ragdecode.pipeline.answer import Sentence

#: a possible end: closing punctuation with its quotes and brackets, then a blank or the end of the text ...
_END = r"""[.!?…]+["'”’»)\]*_]*(?=\s|$)"""
#: ... which East Asian writing leaves out ...
_WIDE_MARKS = ("。", "！", "？")
_WIDE_END = r"[。！？]+[”’」』）]*"
#: ... or a paragraph's end, or a line's end before the next item of a list
_LINE_END = r"\n\s*\n|\n(?=[ \t]*(?:[-*•–]|\d{1,3}[.)])\s)"
_CANDIDATE = re.compile(f"{_WIDE_END}|{_END}|{_LINE_END}")
#: every candidate holds one of these
_MARKS = frozenset(".!?…\n。！？")
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘«]+$")
_WORD_AFTER = re.compile(r"\s*[\"'“‘«(\[*_]*([^\s]*)")
_ITEM_NUMBER = re.compile(r"[\s*_]*\d{1,3}")
_INITIALS = re.compile(r"(?:[A-Za-z]\.)*[A-Z]")


@cache
def _words() -> dict[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    section: set[str] = set()
    text = files("ragdecode.pipeline").joinpath("abbreviations.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), set())
        elif not line.startswith("#"):
            section.update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a candidate ends the sentence that began at ``start``."""
    mark = match.group()
    if not mark.startswith(".") or mark.startswith(".."):
        if mark[0] not in ".!?…":
            return True  # a line's end, or a wide mark
        following = _WORD_AFTER.match(text, match.end())
        return not (following and following.group(1)[:1].islower())
    before = _WORD_BEFORE.search(text, start, match.start())
    word = before.group() if before else ""
    following = _WORD_AFTER.match(text, match.end())
    after = following.group(1) if following else ""
    if after[:1].islower():
        return False
    if _ITEM_NUMBER.fullmatch(text, start, match.start()):
        return False  # '1. First'
    words = _words()
    folded = word.casefold()
    if not after:
        return True
    if folded in words["never"]:
        return False
    if folded in words["number"]:
        return not after[:1].isdigit()
    if folded in words["seldom"] or (_INITIALS.fullmatch(word) and word != "I"):
        return after.strip(".,;:!?").casefold() in words["starters"]
    return True


def split_sentences(text: str, start: int = 0) -> list[Sentence]:
    """Sentences of ``text`` from the offset ``start`` on, without the blanks around them.

    Offsets count from the beginning of ``text``. Blank text has no sentences.
    """
    sentences: list[Sentence] = []
    begin = start

    def add(end: int) -> None:
        piece = text[begin:end]
        lead = len(piece) - len(piece.lstrip())
        core = piece.strip()
        if core:
            sentences.append(Sentence(core, begin + lead, begin + lead + len(core)))

    for match in _CANDIDATE.finditer(text, start):
        if _ends(text, begin, match):
            add(match.end())
            begin = match.end()
    add(len(text))
    return sentences


class SentenceStream:
    """Sentences of a text that grows, each told once it cannot change any more.

    What was told, in order, equals `split_sentences` of the whole text, whatever the pieces.
    """

    def __init__(self) -> None:
        self._text = ""
        self._told: list[Sentence] = []
        self._may_end = False  # whether the open part holds a mark that may end a sentence

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text

    def add(self, piece: str) -> list[Sentence]:
        """Sentences that became certain with another piece of text."""
        if not piece:
            return []
        self._text += piece
        self._may_end = self._may_end or not _MARKS.isdisjoint(piece)
        if not self._may_end:
            return []
        start = self._told[-1].end if self._told else 0
        open_ones = split_sentences(self._text, start)
        certain: list[Sentence] = []
        for sentence, following in pairwise(open_ones):
            # A border depends on the word after it: that word must be complete, and a blank shows that it is.
            complete = len(self._text[following.start :].split(maxsplit=1)) > 1
            if not complete and sentence.text.rstrip("”’」』）")[-1:] not in _WIDE_MARKS:
                break
            certain.append(sentence)
        self._told += certain
        if certain:
            self._may_end = not _MARKS.isdisjoint(self._text[certain[-1].end :])
        return certain

    def retract(self, characters: int) -> None:
        """Go back to the first ``characters`` characters."""
        self._text = self._text[:characters]
        self._told = [sentence for sentence in self._told if sentence.end <= characters]
        self._may_end = True

    def finish(self) -> list[Sentence]:
        """The sentences not yet told, now that the text is whole."""
        rest = split_sentences(self._text, self._told[-1].end if self._told else 0)
        self._told += rest
        return rest

    @property
    def told(self) -> tuple[Sentence, ...]:
        """All sentences told so far."""
        return tuple(self._told)
