from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import InputError
from ragdecode.indexing.index import Index
from ragdecode.retrieval.chain import check_stages
from ragdecode.retrieval.query import Query
from tests.retrieval.chains import chain, small_index, stages

QUERIES = ["green pears on a tree", "the salty blue sea", "dark clouds and rain", "red apples in an orchard"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return small_index(tmp_path_factory.mktemp("index"))


def sources(found: list[Any]) -> list[str]:
    return [hit.passage.source for hit in found]


@pytest.mark.parametrize("stage", ["bm25", "dense", "hybrid"])
def test_each_first_stage_finds_the_passage_that_answers(index: Index, stage: str) -> None:
    found = chain(index, {stage: {"top_k": 2}}).retrieve(QUERIES)
    assert [sources(hits)[0] for hits in found] == ["fruit/pear.md", "sea.html", "sky.txt", "fruit/apple.md"]
    assert all(len(hits) <= 2 for hits in found)


def test_hybrid_is_the_fusion_of_the_stores_own_rankings(index: Index) -> None:
    (hits,) = chain(index, {"hybrid": {"top_k": 4, "fuse": {"rrf": {"k": 10}}}}).retrieve([QUERIES[0]])
    expected: dict[str, float] = {}
    for store in ("bm25", "faiss"):
        for rank, hit in enumerate(index.search(store, [QUERIES[0]], 100)[0], start=1):
            expected[hit.passage.id] = expected.get(hit.passage.id, 0) + 1 / (10 + rank)
    assert {hit.passage.id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)
    assert set(hits[0].scores) == {"bm25", "faiss", "rrf"}


def test_hybrid_of_one_store_keeps_its_order(index: Index) -> None:
    (hits,) = chain(index, {"hybrid": {"of": ["faiss"]}}).retrieve([QUERIES[1]])
    (alone,) = chain(index, "dense").retrieve([QUERIES[1]])
    assert sources(hits) == sources(alone)


def test_a_batch_equals_its_queries_one_by_one(index: Index) -> None:
    hybrid = chain(index, "hybrid")
    assert hybrid.retrieve(QUERIES) == [hybrid.retrieve([query])[0] for query in QUERIES]


def test_the_trace_shows_every_stage(index: Index) -> None:
    run = chain(index, {"bm25": {"top_k": 3}}, {"rerank": {"top_k": 1}}, likelihood=lambda pairs: [0.0] * len(pairs))
    outcome = run.run([Query(QUERIES[0]), Query(QUERIES[1])])
    assert [stage.name for stage in outcome.stages] == ["bm25", "rerank"]
    assert outcome.stages[-1].hits == outcome.hits
    assert [len(hits) for hits in outcome.hits] == [1, 1]
    assert outcome.seconds >= max(stage.seconds for stage in outcome.stages) > 0
    assert str(run) == "bm25 >> rerank"
    assert run.needs_model


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ([], "retrieve is empty"),
        (["rerank"], "retrieve.0: rerank transforms passages that an earlier stage must have found"),
        (["bm25", "dense"], "retrieve.1: dense finds passages, as bm25 does: there can be only one"),
        ([{"dense": {"store": "milvus"}}], "retrieve.0: dense searches the store 'milvus', which the index lacks"),
        ([{"hybrid": {"of": ["bm25", "x"]}}], "'x', which the index lacks; it has bm25, faiss"),
        ([{"hybrid": {"of": ["bm25"], "fuse": {"weighted": {"weights": {"faiss": 1}}}}}], "only bm25 are fused"),
    ],
)
def test_chains_that_cannot_run_are_refused(index: Index, written: list[Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        chain(index, *written)


def test_checking_needs_no_index() -> None:
    assert check_stages(stages("hybrid", "rerank"), ["bm25"]) == []
    assert check_stages(stages("dense", "bm25"), ["bm25"]) == [
        (0, "dense searches the store 'faiss', which the index lacks; it has bm25"),
        (1, "bm25 finds passages, as dense does: there can be only one"),
    ]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"top_k": 10, "depth": 5}, r"depth \(5\) must be at least top_k \(10\)"),
        ({"of": ["bm25", "bm25"]}, "names a store twice"),
        ({"fuse": "rrff"}, "did you mean 'rrf'"),
    ],
)
def test_settings_of_hybrid_are_checked(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"hybrid": settings})


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(index: Index, question: str) -> None:
    with pytest.raises(InputError, match="question is empty"):
        chain(index, "bm25").retrieve(["fine", question])


def test_half_a_surrogate_pair_is_refused_before_it_reaches_a_tokenizer(index: Index) -> None:
    with pytest.raises(InputError, match="half of a surrogate pair at character 2"):
        chain(index, "dense").retrieve(["fine", "a \ud800 b"])


def test_no_question_gives_no_hits(index: Index) -> None:
    assert chain(index, "hybrid").retrieve([]) == []
