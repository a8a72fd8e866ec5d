"""COIECD: the evidence leads for tokens whose information content conflicts, the belief for the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import AgainstSettings, finite, only_possible
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch


class CoiecdSettings(AgainstSettings):
    """Settings of contextual information-entropy constraint decoding."""

    alpha: float = Field(default=1.0, ge=0.0, le=10.0)
    """Strength of the contrast of evidence and belief, which all tokens get."""
    ratio: float = Field(default=0.25, gt=0.0, le=1.0)
    """Lambda: tokens above this share of the best one's probability, or within the inverse of it of the least
    probable one's, are outside the bounds, and count as conflicting."""


@register("rule", "coiecd", CoiecdSettings)
class Coiecd(Rule):
    """Contextual information-entropy constraint decoding: conflicting tokens start from the evidence, others not.

    ``log p = base + alpha (log p_c - log p_0)``, normalised; the base is log p_0 for tokens within the bounds
    ``p_min / lambda <= p_c <= lambda p_max``, and log p_c for those outside. Where the best token alone is above the
    upper bound it counts as within. With alpha 1 this is what the evidence predicts within, and `cad` with alpha 1
    outside. Source: Yuan et al., arXiv 2402.11893, after their code; there the bounds are on the softmax of an
    entropy less the information content, in which the entropy cancels. That the paper itself treats the lone best
    token so is unconfirmed.
    """

    strength = "alpha"
    reweighs = "evidence"

    @property
    def views(self) -> Sequence[str]:
        """The view without the evidence."""
        return (self.settings.against,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, the composed distribution so far takes the evidence's part."""
        opened, closed = finite(nodes.composed), finite(nodes.log_probs[self.settings.against])
        margin = math.log(self.settings.ratio)
        above = opened > opened.amax(dim=-1, keepdim=True) + margin
        above &= above.sum(dim=-1, keepdim=True) > 1
        least = nodes.composed.masked_fill(nodes.composed.isneginf(), math.inf).amin(dim=-1, keepdim=True)
        outside = above | (opened < least - margin)
        scores = opened.where(outside, closed) + self.settings.alpha * (opened - closed)
        return only_possible(scores, nodes.composed)
