"""LangChain retrievers and vector stores as the stage that finds passages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_bm25
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.chain import RetrievalChain
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.indexing.doubles import ENCODER, HashedWords
from tests.retrieval.chains import stages

TEXTS = [
    "Apples are red or green.",
    "Pears are green and grow on a pear tree.",
    "The sky is blue.",
    "The sea is blue and salty.",
    "Clouds are white.",
]
BM25 = {"retriever": "BM25Retriever", "constructor": "from_texts", "arguments": {"texts": TEXTS}}
MEMORY = {
    "vector_store": "langchain_core.vectorstores.InMemoryVectorStore",
    "constructor": "from_texts",
    "encoder": ENCODER,
    "arguments": {"texts": TEXTS, "embedding": {"encoder": True}},
}


def chain(double: HashedWords | None = None, /, **settings: Any) -> RetrievalChain:
    context = RetrievalContext(
        encoders=lambda model: double or HashedWords(),
        count_tokens=lambda texts: [len(text.split()) for text in texts],
    )
    return RetrievalChain(stages({"langchain": settings}), context)


def texts(hits: list[Hit]) -> list[str]:
    return [hit.passage.text for hit in hits]


class Fixed(BaseRetriever):
    """Finds the same for every question; a user's own class."""

    found: list[dict[str, Any]]
    fails: bool = False

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        if self.fails:
            raise ConnectionError("the server is gone")
        return [Document(**one) for one in self.found]


def fixed(*found: dict[str, Any], **more: Any) -> RetrievalChain:
    arguments = {"found": list(found), **more}
    return chain(retriever=f"{__name__}.Fixed", arguments=arguments, trust=True)


def test_a_retriever_of_words_ranks_as_rank_bm25() -> None:
    queries = ["Pears are green", "The sky is"]
    reference = rank_bm25.BM25Okapi([text.split() for text in TEXTS])
    for query, hits in zip(queries, chain(**BM25, top_k=3).retrieve(queries), strict=True):
        expected = reference.get_scores(query.split())
        assert [expected[TEXTS.index(text)] for text in texts(hits)] == list(np.sort(expected)[::-1][:3])
        assert [hit.score for hit in hits] == [1, 1 / 2, 1 / 3]
        assert all(hit.row is None and hit.passage.tokens == len(hit.passage.text.split()) for hit in hits)


def test_a_vector_store_with_our_encoder_ranks_by_cosine() -> None:
    encoder = HashedWords()
    found = chain(encoder, **MEMORY, top_k=2)
    hits = found.retrieve(["blue sea", "a pear tree"])
    assert encoder.encoded == TEXTS
    vectors = encoder.encode([*TEXTS, "blue sea", "a pear tree"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for query, one in zip(vectors[5:], hits, strict=True):
        assert texts(one) == [TEXTS[row] for row in np.argsort(-(vectors[:5] @ query), kind="stable")[:2]]
    assert found.retrieve(["blue sea"]) == [hits[0]]
    assert len(encoder.encoded) == 5 + 7  # made once


def test_a_vector_store_can_prefer_what_differs() -> None:
    settings = MEMORY | {"arguments": {**MEMORY["arguments"], "texts": [*TEXTS, TEXTS[3] + " Yes."]}}  # type: ignore[dict-item]
    alike = texts(chain(**settings, top_k=2).retrieve(["salty sea"])[0])
    mixed = chain(**settings, top_k=2, search="mmr", search_arguments={"lambda_mult": 0.0}).retrieve(["salty sea"])[0]
    assert alike == [TEXTS[3], TEXTS[3] + " Yes."]
    assert texts(mixed)[0] == TEXTS[3]
    assert texts(mixed)[1] not in alike


def test_objects_are_made_of_objects() -> None:
    document = "langchain_core.documents.Document"
    written = [{"class": document, "arguments": {"page_content": text, "metadata": {"n": 1}}} for text in TEXTS]
    settings = {"retriever": "BM25Retriever", "constructor": "from_documents", "arguments": {"documents": written}}
    hits = chain(**settings, top_k=1).retrieve(["blue sky"])[0]
    assert texts(hits) == ["The sky is blue."]
    assert hits[0].passage.attributes == {"n": 1}


def test_variants_of_a_question_are_fused() -> None:
    (hits,) = chain(**BM25, top_k=3).run([Query("sky", variants=("salty sea", "sea"))]).hits
    lists = [texts(hits) for hits in chain(**BM25, top_k=3).retrieve(["sky", "salty sea", "sea"])]
    fused: dict[str, float] = {}
    for ranking in lists:
        for rank, text in enumerate(ranking, start=1):
            fused[text] = fused.get(text, 0) + 1 / (60 + rank)
    assert {hit.passage.text: hit.score for hit in hits} == pytest.approx(
        dict(sorted(fused.items(), key=lambda item: -item[1])[:3])
    )


def test_documents_keep_their_place_and_plain_values() -> None:
    place = {"source": "a.md", "page": 3, "heading": "A > B", "start": 10, "end": 20, "tokens": 7, "record": "r1"}
    metadata = {**place, "year": 1999, "tags": ["x"], "draft": False}
    (hits,) = fixed({"page_content": "text", "metadata": metadata, "id": "p1"}).retrieve(["x"])
    passage = hits[0].passage
    assert (passage.id, passage.text, passage.attributes) == ("p1", "text", {"year": 1999, "draft": False})
    assert {name: getattr(passage, name) for name in place} == place


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.5, 0.2], [0.9, 0.5, 0.2]),
        ([0.1, 0.5, 0.7], [1, 1 / 2, 1 / 3]),  # distances
        ([0.9, None, 0.2], [1, 1 / 2, 1 / 3]),
        ([0.9, float("nan"), 0.2], [1, 1 / 2, 1 / 3]),
        (["high", True, 0.2], [1, 1 / 2, 1 / 3]),
    ],
)
def test_scores_of_the_metadata_count_if_they_fall(scores: list[Any], expected: list[float]) -> None:
    found = [{"page_content": f"text {at}", "metadata": {"score": score}} for at, score in enumerate(scores)]
    (hits,) = fixed(*found).retrieve(["x"])
    assert [(hit.passage.text, hit.score) for hit in hits] == [(f"text {at}", one) for at, one in enumerate(expected)]


def test_the_same_document_counts_once_and_no_more_than_asked_for_are_kept() -> None:
    found = [{"page_content": text} for text in ("a", "b", "a", "c", "d")]
    (hits,) = fixed(*found).retrieve(["x"])
    assert texts(hits) == ["a", "b", "c", "d"]
    settings = {"retriever": f"{__name__}.Fixed", "arguments": {"found": found}, "trust": True}
    assert texts(chain(**settings, top_k=2).retrieve(["x"])[0]) == ["a", "b"]
    assert fixed().retrieve(["x"]) == [[]]


def test_what_fails_within_it_is_told() -> None:
    with pytest.raises(RunError, match="Fixed failed: ConnectionError: the server is gone"):
        fixed(fails=True).retrieve(["x"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retriever": "langchain_core.documents.Document"}, "is not a BaseRetriever"),
        ({"vector_store": "langchain_community.retrievers.BM25Retriever"}, "is not a VectorStore"),
        ({"retriever": "BM25Retreiver"}, "did you mean 'BM25Retriever'"),
        ({**BM25, "constructor": "from_text"}, "has no class method 'from_text'"),
        ({**BM25, "arguments": {"text": TEXTS}}, r"does not take these arguments \(text\)"),
        ({**BM25, "arguments": {"texts": [{"class": "langchain_core.tools.Tool"}]}}, "none of the kinds"),
        ({**BM25, "arguments": {"texts": [{"class": "subprocess.Popen"}]}}, "not of a LangChain package"),
    ],
)
def test_what_may_not_or_cannot_be_made_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        chain(**settings).retrieve(["x"])
    assert re.search(message, f"{caught.value.message} {caught.value.hint}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retriever": f"{__name__}.Fixed"}, "not of a LangChain package"),
        ({**BM25, "arguments": {"texts": TEXTS, "bm25_params": {"allow_unsafe": True}}}, "switches off a protection"),
        ({}, "expected one of retriever and vector_store"),
        ({"retriever": "A", "vector_store": "B"}, "expected one of retriever and vector_store"),
        ({"retriever": "A", "search": "mmr"}, "they belong to vector_store"),
        ({"retriever": "A", "constructor": "load_local"}, "String should match"),
        ({"retriever": "A", "arguments": {"x": [{"encoder": True}]}}, "set encoder"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stages({"langchain": settings})


def test_our_own_retriever_comes_back_as_it_was(tmp_path: Path) -> None:
    from ragdecode.retrieval.langchain import documents
    from tests.retrieval.chains import chain as over
    from tests.retrieval.chains import small_index

    ours = over(small_index(tmp_path, stores=["bm25"]), {"bm25": {"top_k": 3}}).retrieve(["green pears"])[0]
    found = [{"page_content": one.page_content, "metadata": one.metadata, "id": one.id} for one in documents(ours)]
    (back,) = fixed(*found).retrieve(["green pears"])
    assert [(hit.passage.id, hit.score) for hit in back] == [(hit.passage.id, hit.score) for hit in ours]
    assert [hit.passage.source for hit in back] == [hit.passage.source for hit in ours]


def test_what_cannot_be_stored_or_sent_is_replaced() -> None:
    strange = {
        "page_content": "half \ud800 a letter\r\n",
        "metadata": {"source": "a\udcff", "price": float("nan"), "x": 1},
    }
    (hit,) = fixed(strange).retrieve(["?"])[0]
    passage = hit.passage
    assert (passage.text, passage.source, dict(passage.attributes)) == ("half � a letter\n", "a�", {"x": 1})
    json.loads(passage.to_json().encode(), parse_constant=pytest.fail)
