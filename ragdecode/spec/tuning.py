"""``configs/tunings/*.yaml``: settings of kNN-LM from held-out text, as ``ragdecode memory tune`` writes them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ragdecode.spec.reference import RelativePath
from ragdecode.spec.settings import Settings

#: a share of the next-token distribution that the memory may have
Weight = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


class BucketsSpec(Settings):
    """Weights of the votes by the distance of the nearest neighbour."""

    edges: tuple[Annotated[float, Field(ge=0.0, allow_inf_nan=False)], ...] = ()
    """Squared distances that divide the buckets, ascending; one that is equal belongs to the next."""
    weights: tuple[Weight, ...] = Field(min_length=1)
    """Weight of each bucket, one more than edges."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.weights) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} buckets; there are {len(self.weights)} weights"
            )
        if any(one >= other for one, other in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges must ascend")
        return self


class TuningSpec(Settings):
    """Temperature and weights of kNN-LM for one model and one memory."""

    description: str = ""
    """One line about it: on what text it was tuned, and how well."""
    model: str = ""
    """Fingerprint of the model that the memory is of; nothing is checked if left out."""
    tokenizer: str = ""
    """Fingerprint of its tokenizer; nothing is checked if left out."""
    dtype: str = ""
    """Precision in which it computes; nothing is checked if left out."""
    key: str = ""
    """The vector that is compared; nothing is checked if left out."""
    k: int | None = Field(default=None, ge=1, le=65536)
    """Neighbours that it was tuned for; the rule's ``k`` if that is left out."""
    temperature: float = Field(gt=0.0, allow_inf_nan=False)
    """Of the votes, in units of squared distances."""
    weight: Weight
    """The best fixed weight."""
    buckets: BucketsSpec | None = None
    """Weights by distance, for ``by: distance``."""
    gate: Annotated[str, RelativePath()] | None = None
    """A safetensors file with the learned gate, for ``by: gate``; see `ragdecode.decoding.knn.gate`."""
