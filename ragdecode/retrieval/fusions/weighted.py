"""Weighted sum of scores that are brought to one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ragdecode.errors import InputError
from ragdecode.indexing.hit import Hit
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class WeightedSettings(Settings):
    """One weight a store."""

    weights: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(default={})
    """Weight by store, ``{bm25: 0.3, faiss: 0.7}``; 1 for stores that are left out."""


@register("fusion", "weighted", WeightedSettings)
class WeightedFusion:
    """Sum of weight times score, each list scaled to 0 (its last) to 1 (its first)."""

    def __init__(self, settings: WeightedSettings) -> None:
        self.settings = settings

    def fuse(self, lists: Mapping[str, list[Hit]]) -> dict[str, float]:
        """Score by passage id; a passage that a list lacks gets 0 from it."""
        fused: dict[str, float] = {}
        for name, hits in lists.items():
            weight = self.settings.weights.get(name, 1.0)
            scores = [hit.score for hit in hits]
            low, spread = (min(scores), max(scores) - min(scores)) if scores else (0.0, 0.0)
            for hit in hits:
                scaled = (hit.score - low) / spread if spread > 0 else 1.0
                fused[hit.passage.id] = fused.get(hit.passage.id, 0.0) + weight * scaled
        return fused

    def check(self, stores: tuple[str, ...]) -> None:
        """Every weight must belong to a store that is fused, and one of them must count."""
        for name in self.settings.weights:
            if name not in stores:
                raise InputError(
                    f"weighted.weights names the store {name!r}, but only {', '.join(stores)} are fused",
                    hint="stores without a weight have the weight 1",
                )
        if stores and not any(self.settings.weights.get(name, 1.0) for name in stores):
            raise InputError(
                "weighted.weights are all 0: nothing would be ranked", hint="give a store a weight above 0"
            )
