"""ROUGE-L: the longest common subsequence of a text and a reference (Lin, ACL 2004 workshop)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits in lower case; no stemming.

    For ASCII text these are the tokens of Google's ``rouge-score`` without a stemmer; letters of other scripts, which
    that package drops, count here.
    """
    return _WORD.findall(text.lower())


def rouge_l(text: str, references: Iterable[str]) -> float:
    """ROUGE-L F1 (harmonic mean of precision and recall) with the reference that fits best; 0 where nothing is shared.

    The whole text is one sequence: sentences are not split (that is ROUGE-Lsum).
    """
    said = words(text)
    return max((_f1(said, words(reference)) for reference in references), default=0.0)


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    common = longest_common_subsequence(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length, by Hunt and Szymanski's algorithm: an increasing subsequence over the places of equal items."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(other):
        places.setdefault(item, []).append(place)
    ends: list[int] = []  # ends[k]: the first place in `other` at which a common subsequence of k + 1 items ends
    for item in one:
        for place in reversed(places.get(item, ())):
            at = bisect_left(ends, place)
            ends[at : at + 1] = [place]
    return len(ends)
