"""Where a text may be cut: between paragraphs, sentences, lines, words."""

from __future__ import annotations

import re
from itertools import pairwise

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
#: after closing punctuation, unless a lower-case letter follows ("e.g. this")
_SENTENCE = re.compile(r"(?:[.!?…][\"'”’)\]]*\s+(?![a-z])|[。！？]+[」』”’]*\s*)")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")

#: from coarse to fine
LEVELS = (_PARAGRAPH, _SENTENCE, _LINE, _WORD)


def pieces(text: str, start: int, end: int, level: int) -> list[tuple[int, int]]:
    """Partition of ``text[start:end]`` at the borders of a level; separators stay with what precedes them."""
    cuts = [start, *(match.end() for match in LEVELS[level].finditer(text, start, end)), end]
    return [(first, behind) for first, behind in pairwise(cuts) if behind > first]
