"""Measures against pytrec_eval (trec_eval's own code) and against values worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
import pytrec_eval

from ragdecode.documents.passage import Passage
from ragdecode.errors import InputError
from ragdecode.evaluation.ranking.evaluate import document_scores, evaluate, trec_order
from ragdecode.evaluation.ranking.measures import MEASURES, mrr, ndcg, precision, recall
from ragdecode.indexing.hit import Hit

CUTS = (1, 3, 7, 10, 100)
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P"}


def judged_runs(seed: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Graded judgements (some negative, some queries without a relevant document) and scores with many ties."""
    chance = random.Random(seed)
    judgements: dict[str, dict[str, int]] = {}
    runs: dict[str, dict[str, float]] = {}
    for number in range(30):
        pool = [f"d{item}" for item in range(60)]
        grades = (0,) if number % 7 == 0 else (-1, 0, 0, 1, 2, 3)
        judgements[f"q{number}"] = {doc: chance.choice(grades) for doc in chance.sample(pool, chance.randint(1, 25))}
        found = chance.sample(pool, chance.randint(1, 50))
        kinds = (lambda: float(chance.randint(0, 4)), chance.random, lambda: 0.1 + 1e-10 * chance.randint(0, 3))
        runs[f"q{number}"] = {doc: kinds[number % 3]() for doc in found}
    return judgements, runs


@pytest.mark.parametrize("seed", range(5))
def test_every_query_has_the_value_of_pytrec_eval(seed: int) -> None:
    judgements, runs = judged_runs(seed)
    rankings = {query: trec_order(scores) for query, scores in runs.items()}
    wanted = {f"{name}.{','.join(map(str, CUTS))}" for name in TREC.values()}
    reference = pytrec_eval.RelevanceEvaluator(judgements, wanted).evaluate(runs)
    names = [f"{name}@{k}" for name in TREC for k in CUTS]
    figures = evaluate(rankings, judgements, names)
    for name in TREC:
        for k in CUTS:
            values = figures[f"{name}@{k}"].values
            assert values.keys() == reference.keys()
            for query, value in values.items():
                assert value == pytest.approx(reference[query][f"{TREC[name]}_{k}"], abs=1e-9), (name, k, query)
    assert any(len(set(scores.values())) < len(scores) for scores in runs.values()), "there must be ties"
    assert any(max(grades.values()) <= 0 for grades in judgements.values()), "there must be hopeless queries"


@pytest.mark.parametrize("k", CUTS)
def test_reciprocal_rank_is_that_of_pytrec_eval_over_the_first_k(k: int) -> None:
    judgements, runs = judged_runs(11)
    rankings = {query: trec_order(scores) for query, scores in runs.items()}
    first = {query: {doc: runs[query][doc] for doc in ranking[:k]} for query, ranking in rankings.items()}
    reference = pytrec_eval.RelevanceEvaluator(judgements, {"recip_rank"}).evaluate(first)
    values = evaluate(rankings, judgements, [f"mrr@{k}"])[f"mrr@{k}"].values
    assert values == pytest.approx({query: found["recip_rank"] for query, found in reference.items()})


def test_by_hand() -> None:
    grades = {"a": 2, "b": 1, "c": 0, "d": -1}
    ranking = ["x", "b", "d", "a"]
    gain = 1 / math.log2(3) + 2 / math.log2(5)
    assert ndcg(ranking, grades, 4) == pytest.approx(gain / (2 + 1 / math.log2(3)))
    assert ndcg(ranking, grades, 2) == pytest.approx((1 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert recall(ranking, grades, 3) == 0.5
    assert precision(ranking, grades, 10) == 0.2
    assert mrr(ranking, grades, 10) == 0.5
    assert mrr(ranking, grades, 1) == 0.0


def test_a_query_without_results_counts_as_zero_and_an_unjudged_one_does_not_count() -> None:
    judgements = {"one": {"a": 1}, "two": {"b": 1}}
    figures = evaluate({"one": ["a"], "three": ["z"]}, judgements, ["ndcg@10", "recall@1"])
    assert figures["ndcg@10"].values == {"one": 1.0, "two": 0.0}
    assert figures["recall@1"].interval.mean == 0.5
    assert figures["recall@1"].interval.n == 2


@pytest.mark.parametrize("name", ["map@10", "ndcg", "ndcg@0", "ndcg@ten", "@3", ""])
def test_an_unknown_measure_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="ndcg, recall, precision, mrr"):
        evaluate({}, {"q": {"a": 1}}, [name])


def test_every_measure_is_perfect_or_nothing_at_the_ends() -> None:
    grades = {"a": 3, "b": 1}
    for value in MEASURES.values():
        assert value(["a", "b"], grades, 2) == pytest.approx(1.0)
        assert value(["y", "z"], grades, 2) == 0.0
        assert value([], grades, 2) == 0.0


def hit(text: str, score: float, source: str, record: str = "") -> Hit:
    return Hit(Passage(text, text, source, None, "", 0, len(text), 1, record), score)


def test_a_document_has_the_score_of_its_best_passage() -> None:
    hits = [hit("p1", 0.2, "c.jsonl", "r1"), hit("p2", 0.9, "c.jsonl", "r2"), hit("p3", 0.7, "c.jsonl", "r1")]
    assert document_scores(hits) == {"r1": 0.7, "r2": 0.9}
    assert document_scores([hit("p1", -2.0, "a.md"), hit("p2", -1.0, "a.md")]) == {"a.md": -1.0}


def test_equal_scores_in_single_precision_go_by_falling_id() -> None:
    assert trec_order({"a": 1.0, "c": 1.0 + 1e-12, "b": 1.0, "d": 0.5}) == ["c", "b", "a", "d"]
