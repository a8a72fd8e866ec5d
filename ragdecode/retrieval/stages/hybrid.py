"""First stage: several stores, their rankings fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field, model_validator

from ragdecode.indexing.hit import Hit, ranked
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.part import Fusion
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class HybridSettings(Settings):
    """Which stores, and how their rankings become one."""

    top_k: int = Field(default=8, ge=1)
    """Passages to find."""
    of: tuple[str, ...] = ()
    """Stores to search; all stores of the index if left out."""
    fuse: Fusion = Field(default="rrf", validate_default=True)
    """How the rankings are fused."""
    depth: int = Field(default=100, ge=1)
    """Passages taken from each store before fusing."""

    @model_validator(mode="after")
    def _fits(self) -> HybridSettings:
        if self.depth < self.top_k:
            raise ValueError(f"depth ({self.depth}) must be at least top_k ({self.top_k})")
        if len(set(self.of)) != len(self.of):
            raise ValueError(f"of names a store twice: {', '.join(self.of)}")
        return self


@register("retriever", "hybrid", HybridSettings)
class HybridStage:
    """Finds passages in several stores and fuses the rankings."""

    role: Role = "find"
    needs_model = False

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self.fusion = settings.fuse.build()
        if settings.of:
            self.fusion.check(settings.of)

    @property
    def stores(self) -> tuple[str, ...] | None:
        """The stores named, or None for all."""
        return self.settings.of or None

    def check_stores(self, stores: Sequence[str]) -> None:
        """Refuse stores of an index that the fusion cannot fuse.

        Raises:
            InputError: A weight is for another store, or no store counts.
        """
        self.fusion.check(self.settings.of or tuple(stores))

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """The best passages of the fused ranking."""
        stores = self.settings.of or context.stores
        self.fusion.check(stores)
        found = {store: context.search(store, queries, self.settings.depth) for store in stores}
        return [self._fused({store: hits[at] for store, hits in found.items()}) for at in range(len(queries))]

    def _fused(self, lists: dict[str, list[Hit]]) -> list[Hit]:
        scores = self.fusion.fuse(lists)
        merged: dict[str, Hit] = {}
        for hits in lists.values():
            for hit in hits:
                seen = merged.get(hit.passage.id)
                both = {**seen.scores, **hit.scores} if seen else hit.scores
                merged[hit.passage.id] = replace(hit, scores=both)
        name = self.settings.fuse.name
        return ranked((hit.rescored(name, scores[of]) for of, hit in merged.items()), self.settings.top_k)
