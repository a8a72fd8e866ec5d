from __future__ import annotations

import math
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from ragdecode.errors import InputError
from ragdecode.indexing.index import Index
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.indexing.doubles import build, index_spec, opened, put
from tests.retrieval.chains import chain, stages

QUERIES = ["salt sea", "who sails the sea sea", "mountain snow snow", "zzz", "the"]
TOPICS = {
    "sea": ["sea", "salt", "wave", "ship", "sail", "harbour", "tide", "fish", "coral", "storm"],
    "hill": ["mountain", "snow", "peak", "rock", "climb", "goat", "valley", "glacier", "summit", "hut"],
    "town": ["street", "house", "market", "baker", "tower", "bell", "square", "bridge", "school", "park"],
}


def corpus() -> dict[str, str]:
    """Sixty texts of one topic each, with words of others, stop words, and words that are too short or too long."""
    chance = random.Random(5)
    texts = {}
    for number in range(60):
        own = TOPICS[list(TOPICS)[number % 3]]
        words = chance.choices(own, k=chance.randint(5, 25))
        words += chance.choices([word for topic in TOPICS.values() for word in topic], k=3)
        words += ["the"] * chance.randint(1, 6) + ["x", "incomprehensibilities"] * (number % 2)
        chance.shuffle(words)
        texts[f"{number:02}.txt"] = " ".join(words)
    return texts


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder: Path = tmp_path_factory.mktemp("rm3")
    put(folder / "docs", corpus())
    build(index_spec(folder / "docs", stores=["bm25"]), folder / "index")
    return opened(folder / "index")


def bm25_plus(texts: list[list[str]], weights: dict[str, float], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """BM25+ of Lv and Zhai (2011) with delta 1, over weighted words."""
    average = sum(map(len, texts)) / len(texts)
    scores = [0.0] * len(texts)
    for word, weight in weights.items():
        df = sum(word in text for text in texts)
        if df == 0:
            continue
        for at, text in enumerate(texts):
            tf = text.count(word)
            scores[at] += (
                weight
                * math.log((len(texts) + 1) / df)
                * (1.0 + tf * (k1 + 1) / (k1 * (1 - b + b * len(text) / average) + tf))
            )
    return scores


def naive_rm3(
    texts: list[list[str]], query: str, docs: int, terms: int, weight: float, common: float
) -> dict[str, float]:
    """The relevance model written out step by step, after the description of Anserini's."""
    own = Counter(query.split())
    question = {word: count / len(query.split()) for word, count in own.items()}
    scores = bm25_plus(texts, dict(own))
    sharing = [at for at in range(len(texts)) if set(texts[at]) & set(own)]
    best = sorted(sharing, key=lambda at: (-scores[at], at))[:docs]
    model: dict[str, float] = {}
    for at in best:
        vector = []
        for word, count in Counter(texts[at]).items():
            df = sum(word in text for text in texts)
            if 2 <= len(word) <= 20 and math.log((len(texts) + 1) / df) >= math.log(1 / common):
                vector.append((word, count))
        vector = sorted(vector, key=lambda item: (-item[1], item[0]))[:terms]
        norm = sum(count for _, count in vector)
        for word, count in vector:
            model[word] = model.get(word, 0.0) + count / norm * scores[at]
    kept = dict(sorted(model.items(), key=lambda item: (-item[1], item[0]))[:terms])
    total = sum(kept.values())
    if not kept:
        return question
    return {
        word: weight * question.get(word, 0.0) + (1 - weight) * kept.get(word, 0.0) / total
        for word in {*question, *kept}
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"common": 0.6},
        {"fb_docs": 3, "fb_terms": 4, "original_weight": 0.2, "common": 0.6},
        {"fb_docs": 60, "fb_terms": 100, "original_weight": 0.0, "common": 1.0},
    ],
)
def test_weights_and_ranking_are_those_of_the_reference(index: Index, settings: dict[str, float]) -> None:
    texts = [text.split() for _, text in sorted(corpus().items())]
    full = {"fb_docs": 10, "fb_terms": 10, "original_weight": 0.5} | settings
    outcome = chain(index, {"rm3": settings}, {"bm25": {"top_k": 60}}).run(QUERIES)
    grew = False
    for query, hits in zip(outcome.queries, outcome.hits, strict=True):
        expected = naive_rm3(
            texts, query.text, full["fb_docs"], full["fb_terms"], full["original_weight"], full["common"]
        )
        if query.words:
            assert {word: value for word, value in expected.items() if value} == pytest.approx(
                dict(query.words["bm25"])
            )
            grew |= len(query.words["bm25"]) > len(set(query.text.split()))
            scores = bm25_plus(texts, expected)
            assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[: len(hits)], rel=1e-5)
            for hit in hits:
                assert hit.score == pytest.approx(scores[int(hit.passage.source[:2])], rel=1e-5)
    assert grew


def test_expansion_finds_what_the_question_does_not_name(index: Index) -> None:
    named = {hit.passage.id for hit in chain(index, {"bm25": {"top_k": 60}}).retrieve(["coral"])[0]}
    more = chain(index, {"rm3": {"common": 0.6}}, {"bm25": {"top_k": 60}}).retrieve(["coral"])[0]
    assert named < {hit.passage.id for hit in more}
    sea = [hit for hit in more if int(re.findall(r"\d+", hit.passage.source)[0]) % 3 == 0]
    assert len(sea) == 20


def test_weight_one_changes_no_ranking(index: Index) -> None:
    plain = chain(index, {"bm25": {"top_k": 60}}).retrieve(QUERIES)
    same = chain(index, {"rm3": {"original_weight": 1.0, "common": 1.0}}, {"bm25": {"top_k": 60}}).retrieve(QUERIES)
    assert [[hit.passage.id for hit in hits] for hits in same] == [[hit.passage.id for hit in hits] for hits in plain]


def test_common_short_and_endless_words_are_not_taken(index: Index) -> None:
    (part,) = stages({"rm3": {"common": 0.6, "fb_terms": 100, "fb_docs": 60}})
    (query,) = part.build().rework([Query("sea")], RetrievalContext(index))
    assert {"salt", "ship"} <= set(query.words["bm25"])
    assert not {"the", "x", "incomprehensibilities"} & set(query.words["bm25"])


def test_a_question_that_finds_nothing_stays_as_it_is(index: Index) -> None:
    (part,) = stages("rm3")
    queries = [Query("zzz"), Query("the")]
    assert part.build().rework(queries, RetrievalContext(index)) == queries


def test_the_words_of_another_store_stay(index: Index) -> None:
    (part,) = stages({"rm3": {"common": 1.0}})
    (query,) = part.build().rework([Query("sea", words={"other": {"w": 1.0}})], RetrievalContext(index))
    assert set(query.words) == {"other", "bm25"}
    assert sum(query.words["bm25"].values()) == pytest.approx(1)


def test_a_store_without_words_is_refused(tmp_path: Path) -> None:
    from tests.retrieval.chains import small_index

    with pytest.raises(InputError, match="rm3 weighs words, but the store 'faiss' does not"):
        chain(small_index(tmp_path), {"rm3": {"store": "faiss"}}, "dense").retrieve(["sea"])
