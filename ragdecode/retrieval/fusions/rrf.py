"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ragdecode.indexing.hit import Hit
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class RrfSettings(Settings):
    """The constant of the formula."""

    k: float = Field(default=60.0, ge=0.0, allow_inf_nan=False)
    """Added to every rank: the larger, the less the first places stand out."""


@register("fusion", "rrf", RrfSettings)
class ReciprocalRankFusion:
    """Sum of 1 / (k + rank) over the lists, ranks counted from 1; scores are not looked at."""

    def __init__(self, settings: RrfSettings) -> None:
        self.settings = settings

    def fuse(self, lists: Mapping[str, list[Hit]]) -> dict[str, float]:
        """Score by passage id."""
        fused: dict[str, float] = {}
        for hits in lists.values():
            for rank, hit in enumerate(hits, start=1):
                fused[hit.passage.id] = fused.get(hit.passage.id, 0.0) + 1.0 / (self.settings.k + rank)
        return fused

    def check(self, stores: tuple[str, ...]) -> None:
        """Any stores will do."""
