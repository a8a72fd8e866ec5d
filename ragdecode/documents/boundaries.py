"""Where a text may be cut: between paragraphs, sentences, lines, words."""

from __future__ import annotations

import re

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
#: after closing punctuation, unless a lower-case letter follows ("e.g. this"). Rougher than `sentence_spans`, which
#: knows abbreviations too but runs Python at every full stop, several times as slow: here whole corpora are cut, and
#: a cut after "Dr." costs little, as the next passage repeats the end of the one before.
_SENTENCE = re.compile(r"(?:[.!?…][\"'”’)\]]*\s+(?![a-z])|[。！？]+[」』”’]*\s*)")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")

#: from coarse to fine: of running text, and of what is made of lines (code, tables)
LEVELS = (_PARAGRAPH, _SENTENCE, _LINE, _WORD)
BY_LINES = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)


def cuts(text: str, start: int, end: int, border: re.Pattern[str]) -> list[int]:
    """Places inside ``text[start:end]`` where a border ends; separators stay with what precedes them."""
    return [cut for match in border.finditer(text, start, end) if start < (cut := match.end()) < end]
