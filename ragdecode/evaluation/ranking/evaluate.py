"""Runs of many queries: rankings of documents, their values by query, and means with intervals."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ragdecode.evaluation.bootstrap import Interval, interval
from ragdecode.evaluation.ranking.beir import Judgements
from ragdecode.evaluation.ranking.measures import measure
from ragdecode.indexing.hit import Hit


@dataclass(frozen=True)
class Figures:
    """One measure over all queries.

    Attributes:
        name: ``ndcg@10``.
        values: Value of each judged query, by id.
        interval: Their mean, with its bootstrap interval over queries.
    """

    name: str
    values: dict[str, float]
    interval: Interval


def evaluate(
    rankings: Mapping[str, Sequence[str]], judgements: Judgements, measures: Iterable[str]
) -> dict[str, Figures]:
    """Measure rankings.

    Args:
        rankings: Document ids by query id, best first, each at most once. A judged query that is not there found
            nothing; one that nobody judged is left out.
        judgements: Grade by document id, by query id.
        measures: Names such as ``ndcg@10``.

    Raises:
        InputError: There is no such measure.
    """
    figures = {}
    for name in measures:
        value, k = measure(name)
        values = {query: value(rankings.get(query, ()), grades, k) for query, grades in judgements.items()}
        figures[name] = Figures(name, values, interval(list(values.values())))
    return figures


def document_scores(hits: Iterable[Hit]) -> dict[str, float]:
    """Score by document, that of its best passage.

    The document of a passage is its record where its file has records, else its file.
    """
    scores: dict[str, float] = {}
    for hit in hits:
        document = hit.passage.record or hit.passage.source
        scores[document] = max(hit.score, scores.get(document, hit.score))
    return scores


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Documents by falling score as trec_eval orders them: scores in single precision, equal ones by falling id.

    Rankings of different programs that are ordered alike differ only where their scores do.
    """
    return sorted(scores, key=lambda document: (_single(scores[document]), document), reverse=True)


def _single(value: float) -> float:
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single
