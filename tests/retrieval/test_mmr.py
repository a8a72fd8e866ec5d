from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.hit import Hit
from tests.indexing.doubles import ENCODER, HashedWords
from tests.retrieval.chains import chain, small_index, stages
from tests.retrieval.passages import hit, refine, texts

WORDS = ["red", "green", "blue", "sea", "sky", "pear", "apple", "cloud", "rain", "tree"]
CROSS = {"kind": "cross_encoder", "source": {"path": {"path": "/models/cross"}}}


def candidates(seed: int, count: int = 9) -> list[Hit]:
    random = np.random.default_rng(seed)
    return [
        hit(" ".join(random.choice(WORDS, 6)), float(random.normal()), start=at * 100, row=at) for at in range(count)
    ]


class Store:
    """An index of one store of vectors; counts what it is asked."""

    stores = ("faiss",)

    def __init__(self, passages: Sequence[Hit]) -> None:
        self.passages = [one.passage.text for one in passages]
        self.rows: list[int] = []
        self.texts: list[str] = []

    def searcher(self, name: str) -> Store:
        assert name == "faiss"
        return self

    def vectors(self, rows: Sequence[int]) -> Any:
        self.rows += rows
        return unit(HashedWords().encode([self.passages[row] for row in rows]))

    def encode(self, texts: Sequence[str], role: str) -> Any:
        self.texts += texts
        return unit(HashedWords().encode(texts))


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosine(one: str, other: str) -> float:
    a, b = (HashedWords().encode([text])[0].astype(float) for text in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def naive(question: str, hits: Sequence[Hit], weight: float, k: int) -> list[str]:
    """The definition, read out: argmax over what is left of lambda sim1 - (1 - lambda) max sim2."""
    taken: list[Hit] = []
    while len(taken) < min(k, len(hits)):

        def marginal(one: Hit) -> float:
            likest = max([cosine(one.passage.text, old.passage.text) for old in taken], default=0.0)
            return weight * cosine(question, one.passage.text) - (1 - weight) * likest

        left = [one for one in hits if one not in taken]
        # float32 and float64 may see ties differently: equal to nine digits is equal
        taken.append(min(left, key=lambda one: (-round(marginal(one), 6), one.passage.id)))
    return texts(taken)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition(seed: int, weight: float) -> None:
    hits = candidates(seed)
    question = "green pear on a tree"
    written = {"mmr": {"lambda_mult": weight, "top_k": 6}}
    (found,) = refine(written, [hits], [question], index=Store(hits))
    assert texts(found) == naive(question, hits, weight, 6)
    assert all(one.score == one.scores["mmr"] for one in found)


def test_relevance_alone_is_the_order_of_relevance() -> None:
    hits = candidates(3)
    (found,) = refine({"mmr": {"lambda_mult": 1, "top_k": 9}}, [hits], ["sea"], index=Store(hits))
    cosines = [cosine("sea", text) for text in texts(found)]
    assert cosines == sorted(cosines, reverse=True)
    (found,) = refine({"mmr": {"lambda_mult": 1, "top_k": 9, "relevance": "score"}}, [hits], index=Store(hits))
    assert texts(found) == texts(sorted(hits, key=lambda one: -one.score))


def test_a_copy_of_the_best_is_taken_last() -> None:
    hits = [hit("green pear", 3, start=1), hit("green pear", 2.9, start=2), hit("blue sea", 1), hit("red tree", 0.9)]
    written = {"mmr": {"encoder": ENCODER, "relevance": "score", "lambda_mult": 0.3}}
    (found,) = refine(written, [hits], encoders=lambda model: HashedWords())
    assert texts(found) == ["green pear", "blue sea", "red tree", "green pear"]


def test_vectors_are_got_once_for_all_questions() -> None:
    hits = candidates(1)
    changed = [hit("a shorter pear", row=None), *hits[:3]]
    store = Store(hits)
    found = refine({"mmr": {"top_k": 2}}, [hits[:4], [], changed], ["sea", "sky", "pear"], index=store)
    assert [len(one) for one in found] == [2, 0, 2]
    assert sorted(store.rows) == [0, 1, 2, 3]
    assert sorted(store.texts) == sorted(["a shorter pear", "sea", "sky", "pear"])
    assert found[0] == refine({"mmr": {"top_k": 2}}, [hits[:4]], ["sea"], index=Store(hits))[0]


def test_the_store_is_checked_before_anything_runs(tmp_path: Any) -> None:
    index = small_index(tmp_path, stores=["bm25"])
    with pytest.raises(InputError, match="mmr searches the store 'faiss', which the index lacks"):
        chain(index, "bm25", "mmr")
    with pytest.raises(InputError, match="'bm25' has no vectors"):
        chain(index, "bm25", {"mmr": {"store": "bm25"}}).retrieve(["pear"])
    with pytest.raises(RunError, match="needs an encoder"):
        chain(index, "bm25", {"mmr": {"encoder": ENCODER}}).retrieve(["pear"])
    assert chain(index, "bm25", {"mmr": {"store": "bm25"}}).retrieve(["zebra"]) == [[]]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"lambda_mult": 1.1}, "less than or equal to 1"),
        ({"encoder": CROSS}, "of kind cross_encoder; vectors need one of kind encoder"),
        ({"encoder": ENCODER, "store": "faiss"}, "not both"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"mmr": settings})


def test_the_vectors_of_a_built_index_are_taken(tmp_path: Any) -> None:
    index = small_index(tmp_path)
    mmr = {"lambda_mult": 0.5, "top_k": 4}
    (stored,) = chain(index, "dense", {"mmr": mmr}).retrieve(["green pears on a tree"])
    encoded = chain(index, "dense", {"mmr": {**mmr, "encoder": ENCODER}}, encoders=lambda model: HashedWords())
    (anew,) = encoded.retrieve(["green pears on a tree"])
    assert texts(stored) == texts(anew)
    assert [one.score for one in stored] == pytest.approx([one.score for one in anew], abs=1e-5)
    (distinct,) = chain(index, "dense", {"near_duplicates": {"jaccard": None, "cosine": 0.99}}).retrieve(["sea"])
    assert len(distinct) == 4
