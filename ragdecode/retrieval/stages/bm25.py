"""First stage: the index's BM25 store."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class Bm25StageSettings(Settings):
    """How many passages."""

    top_k: int = Field(default=8, ge=1)
    """Passages to find."""


@register("retriever", "bm25", Bm25StageSettings)
class Bm25Stage:
    """Finds passages by shared words."""

    role: Role = "find"
    stores = ("bm25",)
    needs_model = False

    def __init__(self, settings: Bm25StageSettings) -> None:
        self.settings = settings

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """The best passages of the store."""
        return context.search("bm25", queries, self.settings.top_k)
