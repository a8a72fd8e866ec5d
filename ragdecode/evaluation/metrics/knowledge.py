"""How much of an answer stands in its evidence (Adlakha et al., TACL 2024, arXiv 2307.16877).

They reward copying, and long evidence holds most common words: print them beside recall and the length of answers.
Give the passages as the model saw them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ragdecode.evaluation.metrics.answers import f1, normalise, precision, recall


def k_precision(answer: str, passages: Iterable[str]) -> float:
    """Share of the answer's words that stand in its passages, normalised; 0 for an answer without words.

    A word that is said three times counts as often as the passages together have it.
    """
    return precision(_words(answer), _known(passages))


def k_recall(answer: str, passages: Iterable[str]) -> float:
    """Share of the passages' words that the answer has; 1 for passages without words."""
    return recall(_words(answer), _known(passages))


def k_f1(answer: str, passages: Iterable[str]) -> float:
    """Harmonic mean of `k_precision` and `k_recall`; 1 if neither side has words, 0 if one has none."""
    return f1(_words(answer), _known(passages))


def k_precision_new(answer: str, passages: Iterable[str], asked: Iterable[str]) -> float:
    """K-Precision++: `k_precision` of the words that the question and earlier turns do not have.

    Every occurrence of a word that was asked with is taken out of the answer; the passages stay whole. 1 if nothing is
    left: nothing was said that was not asked.

    Args:
        answer: The answer.
        passages: The evidence.
        asked: The question and the earlier turns.
    """
    left = _new(answer, asked)
    return precision(left, _known(passages)) if left else 1.0


def k_recall_new(answer: str, passages: Iterable[str], asked: Iterable[str]) -> float:
    """K-Recall++; see `k_precision_new`."""
    left = _new(answer, asked)
    return recall(left, _known(passages)) if left else 1.0


def k_f1_new(answer: str, passages: Iterable[str], asked: Iterable[str]) -> float:
    """K-F1++; see `k_precision_new`."""
    left = _new(answer, asked)
    return f1(left, _known(passages)) if left else 1.0


def _words(text: str) -> list[str]:
    return normalise(text).split()


def _known(passages: Iterable[str]) -> list[str]:
    return _words(" ".join(passages))


def _new(answer: str, asked: Iterable[str]) -> list[str]:
    known = set(_words(" ".join(asked)))
    return [word for word in _words(answer) if word not in known]
