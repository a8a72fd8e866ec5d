from __future__ import annotations

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from ragdecode.retrieval.chain import RetrievalChain
from ragdecode.retrieval.langchain import as_retriever
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
