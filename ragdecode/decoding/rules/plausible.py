"""Plausibility: tokens that no view finds likely are out, whatever the rules before made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.contrasting import AgainstSettings, head, within
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch


class PlausibleSettings(AgainstSettings):
    """Settings of the plausibility mask."""

    ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """A token stays if it has at least this share of the most probable token's probability."""
    of: Literal["with_context", "union"] = "with_context"
    """Whose opinion counts: the evidence's, or that of either view; a mask for `acd` should be the ``union``."""
    against: str = "without_context"
    """The other view of the union."""


@register("rule", "plausible", PlausibleSettings)
class Plausible(Rule):
    """Keeps the tokens that a view itself finds plausible: the mask of contrastive decoding as a rule of its own.

    It stands after rules that contrast views, because a quotient of two small probabilities can be large. Source: the
    adaptive plausibility constraint of Li et al., arXiv 2210.15097; the union of two views is this package's.
    """

    @property
    def views(self) -> Sequence[str]:
        """The other view of the union."""
        return (self.settings.against,) if self.settings.of == "union" else ()

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """The composed distribution so far on the plausible tokens ``[N, V]``."""
        kept = head(nodes.log_probs["with_context"], self.settings.ratio)
        for view in self.views:
            kept |= head(nodes.log_probs[view], self.settings.ratio)
        return within(kept, nodes.composed, nodes.composed)
