"""ROUGE: shared n-grams and longest common subsequences of a text and a reference (Lin, ACL 2004 workshop)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

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


def rouge_n(text: str, references: Iterable[str], n: int) -> float:
    """ROUGE-N F1: n-grams of words, each as often as both have it, with the reference that fits best; else 0."""
    said = _grams(words(text), n)
    return max((_gram_f1(said, _grams(words(reference), n)) for reference in references), default=0.0)


def rouge_lsum(text: str, references: Iterable[str], sentences: Callable[[str], Iterable[str]]) -> float:
    """ROUGE-Lsum F1, by sentences: of each reference sentence the union of its subsequences common with any sentence.

    No word counts more often than either side has it. The best reference counts.

    Args:
        text: The text.
        references: The references.
        sentences: Splits a text into its sentences.
    """
    said = [words(sentence) for sentence in sentences(text)]
    return max(
        (_summary_f1(said, [words(sentence) for sentence in sentences(reference)]) for reference in references),
        default=0.0,
    )


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def _gram_f1(said: Counter[tuple[str, ...]], wanted: Counter[tuple[str, ...]]) -> float:
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def _summary_f1(said: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> float:
    left = Counter(word for sentence in said for word in sentence)
    total = left.total() + sum(map(len, wanted))
    hits = 0
    due = Counter(word for sentence in wanted for word in sentence)
    for sentence in wanted:
        for place in sorted(set().union(*(_common_places(sentence, other) for other in said))):
            word = sentence[place]
            if left[word] and due[word]:
                left[word] -= 1
                due[word] -= 1
                hits += 1
    return 2 * hits / total if hits else 0.0


def _common_places(one: Sequence[str], other: Sequence[str]) -> set[int]:
    """Places in `one` of one longest common subsequence: the one that the rouge-score package takes."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, word in enumerate(one):
        for j, theirs in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if word == theirs else max(table[i][j + 1], table[i + 1][j])
    places: set[int] = set()
    i, j = len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places


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
