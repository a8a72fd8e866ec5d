from __future__ import annotations

import pytest

from ragdecode.documents.passage import Passage
from ragdecode.errors import InputError
from ragdecode.indexing.hit import Hit, ranked
from ragdecode.retrieval.fusions.rrf import ReciprocalRankFusion, RrfSettings
from ragdecode.retrieval.fusions.weighted import WeightedFusion, WeightedSettings


def hit(name: str, score: float) -> Hit:
    return Hit(Passage(name, name, "a.md", None, "", 0, 1, 1), score)


LISTS = {"bm25": [hit("a", 9.0), hit("b", 5.0), hit("c", 1.0)], "faiss": [hit("c", 0.9), hit("a", 0.3)]}


def test_rrf_sums_reciprocal_ranks() -> None:
    fused = ReciprocalRankFusion(RrfSettings(k=60)).fuse(LISTS)
    assert fused == pytest.approx({"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 63 + 1 / 61})
    assert ReciprocalRankFusion(RrfSettings(k=0)).fuse(LISTS) == pytest.approx({"a": 1.5, "b": 0.5, "c": 1 / 3 + 1})


def test_weighted_sums_scaled_scores() -> None:
    fused = WeightedFusion(WeightedSettings(weights={"bm25": 0.5})).fuse(LISTS)
    assert fused == pytest.approx({"a": 0.5, "b": 0.25, "c": 1.0})


def test_weighted_takes_equal_scores_as_best_and_empty_lists_as_nothing() -> None:
    fused = WeightedFusion(WeightedSettings()).fuse({"bm25": [hit("a", 2.0), hit("b", 2.0)], "faiss": []})
    assert fused == {"a": 1.0, "b": 1.0}


def test_a_weight_for_a_store_that_is_not_fused_is_refused() -> None:
    fusion = WeightedFusion(WeightedSettings(weights={"fais": 1.0}))
    with pytest.raises(InputError, match="names the store 'fais', but only bm25, faiss are fused"):
        fusion.check(("bm25", "faiss"))


def test_ranking_breaks_ties_by_id() -> None:
    order = [one.passage.id for one in ranked([hit("c", 1.0), hit("a", 1.0), hit("b", 2.0), hit("d", 0.0)], 3)]
    assert order == ["b", "a", "c"]
