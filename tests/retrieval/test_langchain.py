from __future__ import annotations

import asyncio

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore

from ragdecode.errors import InputError
from ragdecode.indexing.index import Index
from ragdecode.retrieval.chain import RetrievalChain
from ragdecode.retrieval.langchain import as_retriever, as_vector_store
from tests.indexing.doubles import HashedWords
from tests.retrieval.chains import chain, small_index


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> RetrievalChain:
    return chain(small_index(tmp_path_factory.mktemp("index")), {"hybrid": {"top_k": 3}})


def test_documents_carry_place_score_and_rank(hybrid: RetrievalChain) -> None:
    retriever = as_retriever(hybrid)
    assert isinstance(retriever, BaseRetriever)
    found = retriever.invoke("green pears")
    (hits,) = hybrid.retrieve(["green pears"])
    assert all(isinstance(document, Document) for document in found)
    assert [document.page_content for document in found] == [hit.passage.text for hit in hits]
    assert [document.metadata["score"] for document in found] == [hit.score for hit in hits]
    assert [document.metadata["rank"] for document in found] == [1, 2, 3]
    assert found[0].metadata["source"] == "fruit/pear.md"
    assert found[0].metadata["heading"] == "Pears"


def test_async_and_batch_give_the_same(hybrid: RetrievalChain) -> None:
    retriever = as_retriever(hybrid)
    once = retriever.invoke("the blue sea")
    assert asyncio.run(retriever.ainvoke("the blue sea")) == once
    assert retriever.batch(["the blue sea", "apples"])[0] == once


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return small_index(tmp_path_factory.mktemp("index"))


def test_a_store_is_a_vector_store(index: Index) -> None:
    for name in ("bm25", "faiss"):
        store = as_vector_store(index, name)
        assert isinstance(store, VectorStore)
        (hits,) = index.search(name, ["green pears"], 2)
        scored = store.similarity_search_with_score("green pears", k=2)
        assert [(document.id, score) for document, score in scored] == [(hit.passage.id, hit.score) for hit in hits]
        assert store.similarity_search("green pears", k=2) == [document for document, _ in scored]
        assert asyncio.run(store.asimilarity_search("green pears", k=2)) == store.similarity_search("green pears", k=2)
        assert store.as_retriever(search_kwargs={"k": 2}).invoke("green pears") == [document for document, _ in scored]


def test_it_can_prefer_what_differs(index: Index) -> None:
    found = as_vector_store(index, "faiss").max_marginal_relevance_search("green pears", k=3, lambda_mult=0.3)
    encoder = HashedWords()
    texts = [passage.text for passage in index.passages]
    vectors = encoder.encode([*texts, "green pears"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query, chosen = vectors[-1], list[int]()
    for _ in range(3):  # Carbonell and Goldstein (1998), formula as it stands
        rest = [row for row in range(len(texts)) if row not in chosen]
        worth = [
            0.3 * vectors[row] @ query - 0.7 * max((vectors[row] @ vectors[one] for one in chosen), default=0)
            for row in rest
        ]
        chosen.append(rest[int(np.argmax(worth))])
    assert [document.page_content for document in found] == [texts[row] for row in chosen]
    with pytest.raises(InputError, match="has no vectors"):
        as_vector_store(index, "bm25").max_marginal_relevance_search("green pears")


def test_it_cannot_be_written_to(index: Index) -> None:
    store = as_vector_store(index, "bm25")
    with pytest.raises(InputError, match="cannot be written to"):
        store.add_documents([Document("x")])
    with pytest.raises(InputError, match="cannot be made"):
        type(store).from_texts(["x"], None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes no search argument filter"):
        store.similarity_search("x", filter={"a": 1})
    with pytest.raises(InputError, match="no store 'milvus'"):
        as_vector_store(index, "milvus")
