"""LOL: contrast the model with a version of itself that makes things up, at the last layer and at a lower one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ragdecode.decoding.contrasting import finite, head, within
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.layering import settle
from ragdecode.decoding.own_view import OwnViewSettings
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request

_TARGET = "with_context"
#: The view that makes things up, where the rule brings it.
VIEW = "fabricating_low"


class LolSettings(OwnViewSettings):
    """Settings of lower-layer contrast."""

    beta: float = Field(default=1.0, gt=0.0, le=10.0)
    """Weight of the model itself against that of the view that makes things up, at both layers."""
    low: float = Field(default=0.5, ge=0.0, le=10.0)
    """Weight of the lower layer's contrast; the last one's is 1. With 0 it is the rule `induced`."""
    layer: int | None = Field(default=None, ge=0)
    """The lower layer: a block, counted from 0; left out, the last of the model's lower half."""
    refocus: str | None = None
    """A view of ``decode.views`` whose prompt asks for the truth; left out, no truthfulness is refocused on."""
    truth: float = Field(default=0.5, ge=0.0, le=10.0)
    """Weight of ``log p_refocus - log p``, where there is such a view."""
    ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """Tokens with less than this share of the best one's probability are out."""

    @field_validator("refocus")
    @classmethod
    def _another_view(cls, refocus: str | None) -> str | None:
        if refocus == "with_context":
            raise ValueError("'with_context' is the view that is decoded: over itself it changes nothing")
        return refocus


@register("rule", "lol", LolSettings)
class Lol(Rule):
    """Lower layers matter: multi-layer fusion contrastive decoding, with truthfulness refocused on.

    ``F + low F_low + truth (log p_refocus - log p)`` on the tokens with ``p >= ratio max p``, where ``F = beta log p -
    log p_weak`` at the last layer, and ``F_low`` the same of what both predict after a lower block. Source: Chen et
    al., arXiv 2408.08769. That two contrasts are fused, at the last and at a lower layer, and that a prompt for the
    truth adds one more, is the paper's; the weights, the choice of the layer, the form of the truthful term and the
    order of normalisation are unconfirmed, and this package's. A weak model of another depth is read at the same share
    of its depth.
    """

    def __init__(self, settings: LolSettings) -> None:
        super().__init__(settings)
        self._weak, self.declares = settings.brings(VIEW, "fabricate")
        self.layers = (settings.layer or 0,)  # until it meets a model
        self.view_layers = {self._weak: self.layers}

    @property
    def views(self) -> Sequence[str]:
        """The view that makes things up, and the truthful one if there is one."""
        return (self._weak,) if self.settings.refocus is None else (self._weak, self.settings.refocus)

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Find the lower layer of both models."""
        main, weak = models[_TARGET], models[self._weak]
        layer = max(main.blocks // 2 - 1, 0) if self.settings.layer is None else self.settings.layer
        self.layers = settle(self.part_name, (layer,), main)
        same = max((layer + 1) * weak.blocks // main.blocks - 1, 0)
        self.view_layers = {self._weak: settle(self.part_name, (same,), weak)}

    def start(self, request: Request) -> Rule:
        """Itself; a weak view that leaves the model early has no lower layer of its own."""
        if isinstance(request.views[self._weak].intervention, EarlyExit):
            raise InputError(
                f"'{self.part_name}' reads lower layers of the view {self._weak!r}, which is an early exit"
            )
        return self

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, what is composed so far takes the last layer's part."""
        settings = self.settings
        main = finite(nodes.composed)
        scores = settings.beta * main - finite(nodes.log_probs[self._weak])
        if settings.low:
            low = finite(nodes.early[self.layers[0]].log_probs())
            weak = finite(nodes.view_early[self._weak][self.view_layers[self._weak][0]].log_probs())
            scores = scores + settings.low * (settings.beta * low - weak)
        if settings.refocus is not None:
            scores = scores + settings.truth * (finite(nodes.log_probs[settings.refocus]) - main)
        return within(head(nodes.composed, settings.ratio), scores, nodes.composed)
