"""How much of an answer stands in its evidence (Adlakha et al., TACL 2024, arXiv 2307.16877)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ragdecode.evaluation.metrics.answers import normalise


def k_precision(answer: str, passages: Iterable[str]) -> float:
    """Share of the answer's words that stand in its passages, normalised; 0 for an answer without words.

    A word that is said three times counts as often as the passages together have it. It rewards copying, and long
    evidence holds most common words: print it beside recall and the length of answers. Give the passages as the model
    saw them.
    """
    said = Counter(normalise(answer).split())
    known = Counter(normalise(" ".join(passages)).split())
    return sum((said & known).values()) / said.total() if said else 0.0
