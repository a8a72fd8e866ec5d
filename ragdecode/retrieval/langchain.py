"""Our own search as LangChain objects: a chain as a retriever, a store of an index as a vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ragdecode.errors import InputError
from ragdecode.indexing.store import Vectors

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.vectorstores import VectorStore

    from ragdecode.indexing.hit import Hit
    from ragdecode.indexing.index import Index


class Retrieves(Protocol):
    """What can be a retriever: a `RetrievalChain`, a `Pipeline`."""

    def retrieve(self, queries: Sequence[str], /) -> list[list[Hit]]:
        """Hits for each query, best first."""
        ...


def as_retriever(chain: Retrieves) -> BaseRetriever:
    """The chain, or a pipeline's, as a ``BaseRetriever``: invoke, batch, and their async forms.

    Documents carry the passage's place in their metadata, and ``score`` and ``rank``.
    """
    from langchain_core.retrievers import BaseRetriever

    class ChainRetriever(BaseRetriever):
        """Retriever over an index."""

        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return documents(chain.retrieve([query])[0])

        async def _aget_relevant_documents(
            self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
        ) -> list[Document]:
            return documents((await asyncio.to_thread(chain.retrieve, [query]))[0])

    return ChainRetriever()


def as_vector_store(index: Index, store: str) -> VectorStore:
    """A store of an index as a ``VectorStore`` that can be read, not written to.

    Any store can be searched by text; one that ranks by vectors also by ``max_marginal_relevance_search``. The
    documents are those of `as_retriever`; their scores are the store's own, larger is better.

    Raises:
        InputError: There is no such store.
        RunError: It is damaged.
    """
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

    searcher = index.searcher(store)

    class IndexStore(VectorStore):
        """A store of an index."""

        def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            """The best k passages."""
            return documents(self._found(query, k, kwargs))

        def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
            """The best k passages with their scores, larger is better."""
            hits = self._found(query, k, kwargs)
            return [(document, hit.score) for document, hit in zip(documents(hits), hits, strict=True)]

        def max_marginal_relevance_search(
            self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
        ) -> list[Document]:
            """Of the best ``fetch_k`` passages the k that answer the question and differ from one another.

            Raises:
                InputError: The store has no vectors.
            """
            if not isinstance(searcher, Vectors):
                raise InputError(f"the store {store} has no vectors to compare passages by")
            hits = self._found(query, fetch_k, kwargs)
            if not hits:
                return []
            asked = searcher.encode([query], "query")[0]
            vectors = list(searcher.vectors([hit.row for hit in hits if hit.row is not None]))
            return documents([hits[at] for at in maximal_marginal_relevance(asked, vectors, lambda_mult, k)])

        def add_texts(self, *args: Any, **kwargs: Any) -> list[str]:
            """Refused: an index is changed by a build.

            Raises:
                InputError: Always.
            """
            raise InputError("an index cannot be written to by LangChain", hint="build it: ragdecode index build")

        @classmethod
        def from_texts(cls, texts: list[str], embedding: Embeddings, *args: Any, **kwargs: Any) -> IndexStore:
            """Refused: an index is made by a build.

            Raises:
                InputError: Always.
            """
            raise InputError("an index cannot be made by LangChain", hint="build it: ragdecode index build")

        def _found(self, query: str, k: int, others: dict[str, Any]) -> list[Hit]:
            if others:
                raise InputError(f"a store of an index takes no search argument {', '.join(others)}")
            return index.search(store, [query], k)[0]

    return IndexStore()


def documents(hits: list[Hit]) -> list[Document]:
    """Hits as LangChain documents, best first."""
    return [hit.passage.to_document(_extra(hit, rank)) for rank, hit in enumerate(hits, start=1)]


def _extra(hit: Hit, rank: int) -> dict[str, Any]:
    return {"score": hit.score, "rank": rank}
