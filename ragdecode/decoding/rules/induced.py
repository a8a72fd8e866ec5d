"""Induce-then-contrast decoding: less of what a view says that was told, or taught, to make things up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import finite, head, within
from ragdecode.decoding.own_view import OwnViewSettings
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch

#: The view that the rule brings.
VIEW = "induced"


class InducedSettings(OwnViewSettings):
    """Settings of induce-then-contrast decoding."""

    beta: float = Field(default=1.0, gt=0.0, le=10.0)
    """Weight of the model itself against that of the view that makes things up, which is 1."""
    ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """Tokens with less than this share of the best one's probability are out. Without a mask the quotient prefers
    tokens that no view finds likely."""


@register("rule", "induced", InducedSettings)
class Induced(Rule):
    """Induce-then-contrast decoding: the model against a version of itself that makes things up.

    ``log p = beta log p(y) - log p_weak(y)``, normalised on the tokens with ``p >= ratio max p``. The weak view is the
    model under a prompt that asks for fabrications, or another model, taught to. With beta 1 it is a pure quotient.
    Source: Zhang et al., arXiv 2312.15710, and their code, where beta is 1 and the ratio 0.1 for free text; the
    paper's own values of beta are unconfirmed. The prompt is this package's, after theirs.
    """

    def __init__(self, settings: InducedSettings) -> None:
        super().__init__(settings)
        self._weak, self.declares = settings.brings(VIEW, "fabricate")

    @property
    def views(self) -> Sequence[str]:
        """The view that makes things up."""
        return (self._weak,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, what is composed so far takes the model's part."""
        scores = self.settings.beta * finite(nodes.composed) - finite(nodes.log_probs[self._weak])
        return within(head(nodes.composed, self.settings.ratio), scores, nodes.composed)
