"""Short answers against golden ones, as the evaluation of SQuAD defines it (Rajpurkar et al., EMNLP 2016).

Articles and punctuation are English; other languages are compared with theirs left in.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

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
    return _best(lambda said, wanted: f1(said.split(), wanted.split()), answer, golden)


def token_precision(answer: str, golden: Iterable[str]) -> float:
    """Share of the answer's words that the best golden answer has too; 0 for an answer without words."""
    return _best(lambda said, wanted: precision(said.split(), wanted.split()), answer, golden)


def token_recall(answer: str, golden: Iterable[str]) -> float:
    """Share of a golden answer's words that the answer has too, of the best one; 1 where it has no words.

    It follows people's judgement of long answers best (Adlakha et al., TACL 2024), and rewards saying more: never rank
    by it alone.
    """
    return _best(lambda said, wanted: recall(said.split(), wanted.split()), answer, golden)


def substring_match(answer: str, golden: Iterable[str]) -> float:
    """1 if a golden answer is a substring of the answer, normalised, be it inside a word (RecallEM); else 0."""
    return _best(lambda said, wanted: float(wanted in said), answer, golden)


def contains_answer(answer: str, golden: Iterable[str]) -> float:
    """1 if a golden answer stands in the answer as whole words, normalised; else 0."""
    return _best(_contains, answer, golden)


def shared(said: Sequence[str], wanted: Sequence[str]) -> int:
    """Words that both have, each as often as both have it."""
    return (Counter(said) & Counter(wanted)).total()


def precision(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Share of the words said that are wanted; 0 if nothing is said."""
    return shared(said, wanted) / len(said) if said else 0.0


def recall(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Share of the words wanted that are said; 1 if nothing is wanted."""
    return shared(said, wanted) / len(wanted) if wanted else 1.0


def f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Harmonic mean of precision and recall; 1 if both are empty, 0 if one is."""
    if not said or not wanted:
        return float(not said and not wanted)
    return 2 * shared(said, wanted) / (len(said) + len(wanted))


def _best(score: Callable[[str, str], float], answer: str, golden: Iterable[str]) -> float:
    said = normalise(answer)
    return max((score(said, normalise(one)) for one in golden), default=0.0)


def _equal(said: str, wanted: str) -> float:
    return float(said == wanted)


def _contains(said: str, wanted: str) -> float:
    return float(bool(wanted) and f" {wanted} " in f" {said} ")
