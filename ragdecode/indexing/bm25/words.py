"""Text to the words that BM25 counts; the same for passages and queries, and for every backend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

#: runs of letters and digits; scripts written without spaces one character at a time
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def splitter(stemmer: str, stop_words: str = "none") -> Callable[[str], list[str]]:
    """A function from text to words.

    Words are compatibility-normalised (NFKC) and case-folded. Stop words of a language (the lists of bm25s) are left
    out. With a stemmer (a Snowball language) the others are reduced to their stems; ``none`` leaves them whole.
    """
    split = _words if stop_words == "none" else _without(stop_words)
    if stemmer == "none":
        return split
    import Stemmer

    stems = Stemmer.Stemmer(stemmer)
    return lambda text: list(stems.stemWords(split(text)))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _without(language: str) -> Callable[[str], list[str]]:
    from bm25s import stopwords

    name = "EN" if language == "english" else language.upper()
    left_out = frozenset(word for entry in getattr(stopwords, f"STOPWORDS_{name}") for word in _words(entry))
    return lambda text: [word for word in _words(text) if word not in left_out]
