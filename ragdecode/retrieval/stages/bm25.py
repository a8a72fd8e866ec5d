"""First stage: the index's BM25 store."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class Bm25StageSettings(Settings):
    """How many passages."""

    top_k: int = Field(default=8, ge=1)
    """Passages to find."""


@register("retriever", "bm25", Bm25StageSettings)
class Bm25Stage:
    """Finds passages by shared words."""

    produces = True
    stores = ("bm25",)
    needs_likelihood = False

    def __init__(self, settings: Bm25StageSettings) -> None:
        self.settings = settings

    def run(
        self, queries: Sequence[Query], candidates: Sequence[list[Hit]] | None, context: RetrievalContext
    ) -> list[list[Hit]]:
        """The best passages of the store."""
        return context.index.search("bm25", [query.text for query in queries], self.settings.top_k)
