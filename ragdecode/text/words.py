"""The words of a text in any script, with their places."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

#: Scripts that put no blanks between words; each of their characters counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        key: The word without case and in one normal form, for comparing.
        start: Offset of its first character.
        end: Offset after its last.
    """

    key: str
    start: int
    end: int


@cache
def _pattern() -> re.Pattern[str]:
    """Numbers with what stands between their digits, characters of unspaced scripts, and runs of letters and digits.

    Marks that combine with a letter, such as the vowel signs of Devanagari, are part of the word.
    """
    marks = "".join(map(chr, filter(lambda code: unicodedata.category(chr(code))[0] == "M", range(0x300, 0x12000))))
    letter = rf"[^\W_{_UNSPACED}]"
    inner = rf"(?:{letter}|[{marks}])"
    return re.compile(rf"\d+(?:[.,]\d+)+|[{_UNSPACED}][{marks}]*|{letter}{inner}*(?:['’]{letter}{inner}*)*")


def words_of(text: str) -> list[Word]:
    """The words of a text, in order."""
    return [Word(_key(match.group()), match.start(), match.end()) for match in _pattern().finditer(text)]


def _key(word: str) -> str:
    key = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
    if key[0].isdigit():
        return _number(key)
    return key[:-2] if key.endswith("'s") else key


def _number(key: str) -> str:
    """A number without the commas between its thousands: 1,200 is 1200, and 3,5 stays what it is."""
    return key.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", key) else key
