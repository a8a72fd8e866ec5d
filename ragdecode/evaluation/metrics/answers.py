"""Short answers against golden ones, as the evaluation of SQuAD defines it (Rajpurkar et al., EMNLP 2016).

Articles and punctuation are English; other languages are compared with theirs left in.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, words one blank apart."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golden: Iterable[str]) -> float:
    """1 if the answer is one of the golden ones, normalised; else 0."""
    return _best(_equal, answer, golden)


def token_f1(answer: str, golden: Iterable[str]) -> float:
    """F1 of shared words with the golden answer that fits best; repeated words count as often as in both."""
    return _best(_f1, answer, golden)


def contains_answer(answer: str, golden: Iterable[str]) -> float:
    """1 if a golden answer stands in the answer as whole words, normalised; else 0."""
    return _best(_contains, answer, golden)


def _best(score: Callable[[str, str], float], answer: str, golden: Iterable[str]) -> float:
    said = normalise(answer)
    return max((score(said, normalise(one)) for one in golden), default=0.0)


def _equal(said: str, wanted: str) -> float:
    return float(said == wanted)


def _contains(said: str, wanted: str) -> float:
    return float(bool(wanted) and f" {wanted} " in f" {said} ")


def _f1(said: str, wanted: str) -> float:
    mine, theirs = said.split(), wanted.split()
    if not mine or not theirs:
        return float(mine == theirs)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs))
