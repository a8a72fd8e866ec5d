"""``configs/detectors/*.yaml``: tells by attention which context is used, as ``ragdecode detector`` writes it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ragdecode.spec.settings import Settings


class DetectorHead(Settings):
    """One query head and its weight."""

    layer: int = Field(ge=0)
    """Its layer, counted from 0."""
    head: int = Field(ge=0)
    """Which of the layer's query heads, counted from 0."""
    coefficient: float = Field(allow_inf_nan=False)
    """Weight of its attention in the logistic regression."""


class DetectorSpec(Settings):
    """A logistic regression on the shares of attention that a few heads of one model give to a token."""

    description: str = ""
    """One line about it: what it was trained on, and how well it tells."""
    model: str = ""
    """Fingerprint of the model that it was trained for; nothing is checked if left out."""
    intercept: float = Field(allow_inf_nan=False)
    """The regression's intercept."""
    heads: tuple[DetectorHead, ...] = Field(min_length=1)
    """The heads, the heaviest first."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len({(one.layer, one.head) for one in self.heads}) < len(self.heads):
            raise ValueError("a head stands twice")
        if sum(one.coefficient for one in self.heads) <= 0:
            raise ValueError("the coefficients have no positive sum: no token could be lifted; train it on more rows")
        return self
