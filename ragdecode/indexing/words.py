"""Text to the words that BM25 counts; the same for passages and queries, and for every backend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

#: runs of letters and digits; scripts written without spaces one character at a time
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def splitter(stemmer: str) -> Callable[[str], list[str]]:
    """A function from text to words.

    Words are compatibility-normalised (NFKC) and case-folded. With a stemmer (a Snowball language) they are
    reduced to their stems; ``none`` leaves them whole.
    """
    if stemmer == "none":
        return _words
    import Stemmer

    stems = Stemmer.Stemmer(stemmer)
    return lambda text: list(stems.stemWords(_words(text)))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
