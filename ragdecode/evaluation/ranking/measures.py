"""Measures of a ranking against judgements, as trec_eval defines them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from ragdecode.errors import InputError

#: lowest grade of a relevant document
RELEVANT = 1

#: (ranking, grades, cut-off) -> value
Measure = Callable[[Sequence[str], Mapping[str, int], int], float]


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002), gain = grade, discount log2(rank + 1).

    The ideal ranking has all judged documents by falling grade. 0 where no document is relevant.
    """
    ideal = _dcg(sorted(grades.values(), reverse=True)[:k])
    return _dcg([grades.get(document, 0) for document in ranking[:k]]) / ideal if ideal else 0.0


def recall(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Share of the relevant documents among the first k; 0 where no document is relevant."""
    total = sum(grade >= RELEVANT for grade in grades.values())
    return _relevant(ranking, grades, k) / total if total else 0.0


def precision(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Relevant ones among the first k, over k even if fewer were found."""
    return _relevant(ranking, grades, k) / k


def mrr(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """One over the rank of the first relevant document; 0 if none is among the first k."""
    ranks = (rank for rank, document in enumerate(ranking[:k], start=1) if grades.get(document, 0) >= RELEVANT)
    return 1.0 / next(ranks, math.inf)


MEASURES: dict[str, Measure] = {"ndcg": ndcg, "recall": recall, "precision": precision, "mrr": mrr}


def measure(name: str) -> tuple[Measure, int]:
    """The measure and cut-off that a name such as ``ndcg@10`` means.

    Raises:
        InputError: There is no such measure.
    """
    found = re.fullmatch(r"([a-z]+)@([1-9][0-9]*)", name)
    if found is None or found[1] not in MEASURES:
        raise InputError(f"unknown measure {name!r}; expected one of {', '.join(MEASURES)} with a cut-off: ndcg@10")
    return MEASURES[found[1]], int(found[2])


def _dcg(grades: Sequence[int]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1) if grade > 0)


def _relevant(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> int:
    return sum(grades.get(document, 0) >= RELEVANT for document in ranking[:k])
