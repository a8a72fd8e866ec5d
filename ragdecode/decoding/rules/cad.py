"""Context-aware decoding: outweigh what the model believes with what the evidence says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import AgainstSettings, contrasted
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch


class CadSettings(AgainstSettings):
    """Settings of context-aware decoding."""

    alpha: float = Field(default=0.5, ge=-1.0, le=10.0)
    """Strength: 0 is plain decoding, 0.5 suits most work, 1 suits conflicts of evidence and belief."""


@register("rule", "cad", CadSettings)
class Cad(Rule):
    """Context-aware decoding: divide out what the model would say without the evidence.

    ``log p = (1 + alpha) log p(y | evidence, question) - alpha log p(y | question)``, normalised; no plausibility
    mask. Source: Shi et al., arXiv 2305.14739, equation 2 in its logit form.
    """

    strength = "alpha"
    reweighs = "evidence"

    @property
    def views(self) -> Sequence[str]:
        """The view that is divided out."""
        return (self.settings.against,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, the composed distribution so far takes the evidence's part.

        What is impossible there stays impossible, whatever alpha.
        """
        return contrasted(nodes.composed, nodes.log_probs[self.settings.against], self.settings.alpha)
