"""Instructive decoding: less of what the model says under an instruction that is wrong on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import finite, only_possible
from ragdecode.decoding.own_view import OwnViewSettings
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch

#: The view that the rule brings.
VIEW = "noisy_instruction"


class InstructiveSettings(OwnViewSettings):
    """Settings of instructive decoding."""

    epsilon: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Strength: how much of the noisy instruction's prediction is taken away; 0 is plain decoding."""
    rescale: bool = False
    """Divide by ``1 - epsilon``. Without it the published scores are as flat as at a temperature of
    ``1 / (1 - epsilon)``, which matters where the answer is sampled and changes nothing at temperature 0."""


@register("rule", "instructive", InstructiveSettings)
class Instructive(Rule):
    """Instructive decoding: the prediction under the true instruction less the one under a noisy instruction.

    ``log p = log p(y | instruction) - epsilon log p(y | noisy instruction)``, normalised; no mask. The noisy one is by
    default the paper's ``opposite``: always to answer the contrary of what is asked. Source: Kim et al., arXiv
    2311.00233, and their code.
    """

    def __init__(self, settings: InstructiveSettings) -> None:
        super().__init__(settings)
        self._noisy, self.declares = settings.brings(VIEW, "opposite")

    @property
    def views(self) -> Sequence[str]:
        """The view under the noisy instruction."""
        return (self._noisy,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, what is composed so far takes the true instruction's part."""
        epsilon = self.settings.epsilon
        scores = finite(nodes.composed) - epsilon * finite(nodes.log_probs[self._noisy])
        if self.settings.rescale:
            scores = scores / (1 - epsilon)
        return only_possible(scores, nodes.composed)
