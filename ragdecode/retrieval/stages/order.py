"""Later stage: the order in which the model reads the passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class OrderSettings(Settings):
    """Which order."""

    by: Literal["best_first", "best_last", "document", "ends"] = "best_last"
    """``best_first``; ``best_last``, next to the question; ``document``: as they stand in their documents, the
    document of the best passage first; ``ends``: the best at the beginning and at the end, the worst in the middle."""


@register("retriever", "order", OrderSettings)
class OrderStage:
    """Arranges the passages by score and place; scores stay, and equal scores keep the order they are in.

    ``ends`` answers Liu et al., "Lost in the middle: how language models use long contexts" (TACL 2024), who found
    that models use what stands at the beginning or at the end of a long prompt best.
    """

    role: Role = "passages"
    stores: tuple[str, ...] = ()
    needs_model = False

    def __init__(self, settings: OrderSettings) -> None:
        self.settings = settings

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The same passages in the order asked for."""
        return [self._arranged(sorted(found, key=lambda hit: -hit.score)) for found in hits]

    def _arranged(self, best_first: list[Hit]) -> list[Hit]:
        by = self.settings.by
        if by == "document":
            rank: dict[tuple[str, str], int] = {}
            for hit in best_first:
                rank.setdefault((hit.passage.source, hit.passage.record), len(rank))
            return sorted(best_first, key=lambda hit: (rank[hit.passage.source, hit.passage.record], hit.passage.start))
        if by == "ends":
            return best_first[::2] + best_first[1::2][::-1]
        return best_first[::-1] if by == "best_last" else best_first
