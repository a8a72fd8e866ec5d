"""A retrieval chain as a LangChain retriever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

    from ragdecode.indexing.hit import Hit
    from ragdecode.retrieval.chain import RetrievalChain


def as_retriever(chain: RetrievalChain) -> BaseRetriever:
    """The chain as a ``BaseRetriever``: invoke, batch, and their async forms.

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


def documents(hits: list[Hit]) -> list[Document]:
    """Hits as LangChain documents, best first."""
    return [hit.passage.to_document(_extra(hit, rank)) for rank, hit in enumerate(hits, start=1)]


def _extra(hit: Hit, rank: int) -> dict[str, Any]:
    return {"score": hit.score, "rank": rank}
