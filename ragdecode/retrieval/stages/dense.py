"""First stage: a store of sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
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

    produces = True
    needs_likelihood = False

    def __init__(self, settings: DenseStageSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The one store."""
        return (self.settings.store,)

    def run(
        self, queries: Sequence[Query], candidates: Sequence[list[Hit]] | None, context: RetrievalContext
    ) -> list[list[Hit]]:
        """The best passages of the store."""
        texts = [query.text for query in queries]
        return context.index.search(self.settings.store, texts, self.settings.top_k)
