"""What fusing lexical and dense rankings gives: by query, by weight, and with a weight chosen on other collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from corpus_index import CorpusIndex

from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.ranking.beir import Judgements
from ragdecode.evaluation.ranking.evaluate import document_scores, evaluate, trec_order
from ragdecode.spec.part import PartKind

#: share of the dense scores in the weighted sum
WEIGHTS = tuple(step / 10 for step in range(11))
#: differences below this count as none
_SAME = 1e-9


def compare(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, Any]:
    """Paired difference of two systems' values: its mean with an interval, queries won, lost and alike."""
    differences = [one[query] - other[query] for query in one]
    return {
        **asdict(interval(differences)),
        "won": sum(value > _SAME for value in differences),
        "lost": sum(value < -_SAME for value in differences),
        "alike": sum(abs(value) <= _SAME for value in differences),
    }


def weight_values(
    index: CorpusIndex, queries: Mapping[str, str], judgements: Judgements, depth: int, measure: str
) -> dict[str, dict[str, float]]:
    """Value of each query under the weighted sum of both rankings, by weight of the dense one."""
    asked = list(queries.values())
    lists = {
        "bm25": index.search([{"bm25": {"top_k": depth}}], asked),
        "faiss": index.search([{"dense": {"top_k": depth}}], asked),
    }
    values = {}
    for weight in WEIGHTS:
        part = PartKind("fusion").validate({"weighted": {"weights": {"bm25": 1 - weight, "faiss": weight}}})
        fusion, rankings = part.build(), {}
        for place, query in enumerate(queries):
            found = {store: hits[place] for store, hits in lists.items()}
            scores = fusion.fuse(found)
            hits = [hit.rescored("fused", scores[hit.passage.id]) for some in found.values() for hit in some]
            rankings[query] = trec_order(document_scores(hits))
        values[f"{weight:g}"] = evaluate(rankings, judgements, [measure])[measure].values
    return values


def chosen_elsewhere(weights: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, str]:
    """For each collection the weight whose mean over the other collections is highest; each collection counts once.

    Args:
        weights: Value by collection, weight and query.
    """
    means = {name: {weight: _mean(values) for weight, values in found.items()} for name, found in weights.items()}
    choice = {}
    for name, own in means.items():
        others = [found for other, found in means.items() if other != name]
        if others:
            choice[name] = max(own, key=lambda weight: sum(found[weight] for found in others))
    return choice


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
