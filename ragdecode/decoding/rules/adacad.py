"""AdaCAD: context-aware decoding whose strength is how far evidence and belief are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import AgainstSettings, contrasted, divergence, finite
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch


class AdaCadSettings(AgainstSettings):
    """Settings of AdaCAD."""

    offset: float = Field(default=0.0, ge=0.0, le=10.0)
    """Added to the divergence at every token. The authors' code adds 0.3 for summaries."""
    floor: float = Field(default=0.0, ge=0.0, le=10.0)
    """Least strength; the divergence is small in most of a long text."""


@register("rule", "adacad", AdaCadSettings)
class AdaCad(Rule):
    """AdaCAD: the more evidence and belief conflict at a token, the more the belief is divided out.

    ``log p = (1 + alpha) log p_c - alpha log p_0``, normalised, with the Jensen-Shannon divergence of the two views
    (natural logarithm, at most 0.693) as alpha at every token. Source: Wang et al., arXiv 2409.07394, and their code,
    which adds an offset for long texts. The floor is the other reading of their warm-up; what the paper says of it is
    unconfirmed.
    """

    reweighs = "evidence"

    @property
    def views(self) -> Sequence[str]:
        """The view that is divided out."""
        return (self.settings.against,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, the composed distribution so far takes the evidence's part."""
        against = nodes.log_probs[self.settings.against]
        alpha = divergence(finite(nodes.composed), finite(against)) + self.settings.offset
        return contrasted(nodes.composed, against, alpha.clamp(min=self.settings.floor))

    def signals(self, nodes: Nodes) -> Mapping[str, torch.Tensor]:
        """``conflict``: the divergence of evidence and belief in nats ``[N]``."""
        against = finite(nodes.log_probs[self.settings.against])
        return {"conflict": divergence(finite(nodes.composed), against)[:, 0]}
