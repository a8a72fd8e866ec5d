"""``configs/heads/*.yaml``: attention heads of a model in order of their score, as ``ragdecode heads`` writes them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ragdecode.spec.settings import Settings


class ScoredHead(Settings):
    """One query head."""

    layer: int = Field(ge=0)
    """Its layer, counted from 0."""
    head: int = Field(ge=0)
    """Which of the layer's query heads, counted from 0."""
    score: float = 0.0
    """Its score; higher is better."""


class HeadListSpec(Settings):
    """Heads of one model, best first."""

    description: str = ""
    """One line about the list."""
    model: str = ""
    """Fingerprint of the model that it was made for; nothing is checked if left out."""
    heads: tuple[ScoredHead, ...] = Field(min_length=1)
    """The heads, best first."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen = set()
        for one in self.heads:
            if (one.layer, one.head) in seen:
                raise ValueError(f"head {one.head} of layer {one.layer} stands twice")
            seen.add((one.layer, one.head))
        return self


def check_top(top: int, heads: HeadListSpec) -> None:
    """Refuse more heads than a list has.

    Raises:
        ValueError: Both numbers are named.
    """
    if top > len(heads.heads):
        raise ValueError(f"top: {top} asks for more heads than the list has, which is {len(heads.heads)}")
