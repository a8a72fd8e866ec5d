"""First stage: a store of words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class Bm25StageSettings(Settings):
    """How many passages, from which store."""

    top_k: int = Field(default=8, ge=1)
    """Passages to find."""
    store: str = "bm25"
    """Store of the index that is searched."""


@register("retriever", "bm25", Bm25StageSettings)
class Bm25Stage:
    """Finds passages by shared words."""

    role: Role = "find"
    ranks_by: RanksBy = "words"
    needs_model = False

    def __init__(self, settings: Bm25StageSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The one store."""
        return (self.settings.store,)

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """The best passages of the store."""
        return context.search(self.settings.store, queries, self.settings.top_k)
