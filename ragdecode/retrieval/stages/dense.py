"""First stage: a store of sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class DenseStageSettings(Settings):
    """How many passages, from which store."""

    top_k: int = Field(default=8, ge=1)
    """Passages to find."""
    store: str = "faiss"
    """Store of the index that is searched."""


@register("retriever", "dense", DenseStageSettings)
class DenseStage:
    """Finds passages by the similarity of sentence vectors."""

    role: Role = "find"
    ranks_by: RanksBy = "vectors"
    needs_model = False

    def __init__(self, settings: DenseStageSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The one store."""
        return (self.settings.store,)

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """The best passages of the store."""
        return context.search(self.settings.store, queries, self.settings.top_k)
