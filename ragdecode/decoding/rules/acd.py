"""Adaptive contrastive decoding: trust the evidence as far as it makes the model surer than it was without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ragdecode.decoding.contrasting import AgainstSettings, entropy, finite, only_possible
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch

#: Entropy in nats below which a view counts as certain.
_CERTAIN = 1e-6


class AcdSettings(AgainstSettings):
    """Settings of adaptive contrastive decoding: its weight comes from the two views alone."""


@register("rule", "acd", AcdSettings)
class Acd(Rule):
    """Adaptive contrastive decoding: the surer the evidence makes the model, the more it counts.

    ``log p = (1 - alpha) log p_0 + alpha log p_c``, normalised, with ``alpha = H(p_0) / (H(p_0) + H(p_c))`` at every
    token; p_c is what is predicted with the evidence, p_0 without. It never goes beyond the evidence, as `cad` does.
    Source: Kim et al., arXiv 2408.01084. Where both views are certain (entropies below 1e-6 nats) the formula has no
    value; alpha is 1 then, which is a choice of this package.
    """

    reweighs = "evidence"

    @property
    def views(self) -> Sequence[str]:
        """The view without the evidence."""
        return (self.settings.against,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, the composed distribution so far takes the evidence's part."""
        closed, opened = finite(nodes.log_probs[self.settings.against]), finite(nodes.composed)
        return only_possible(closed.lerp(opened, evidence_weight(opened, closed)), nodes.composed)

    def signals(self, nodes: Nodes) -> Mapping[str, torch.Tensor]:
        """``noise``: ``1 - alpha`` ``[N]``. High at the first token of an answer, it tells of passages off target."""
        closed, opened = finite(nodes.log_probs[self.settings.against]), finite(nodes.composed)
        return {"noise": 1 - evidence_weight(opened, closed)[:, 0]}


def evidence_weight(opened: torch.Tensor, closed: torch.Tensor) -> torch.Tensor:
    """Alpha ``[N, 1]``, from 0 to 1, of log-probabilities with and without the evidence ``[N, V]``, both finite."""
    h_0, h_c = entropy(closed), entropy(opened)
    alpha = h_0 / (h_0 + h_c).clamp(min=_CERTAIN)
    return alpha.masked_fill((h_0 < _CERTAIN) & (h_c < _CERTAIN), 1.0)
