"""DFD: a temperature for every token, low where the layers of the model disagree."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from ragdecode.decoding.contrasting import head
from ragdecode.decoding.layering import Blocks, Region, settle
from ragdecode.decoding.rule import Company, EarlyLayer, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request

_TARGET = "with_context"
#: Lowest temperature that the linear form falls to.
_COLDEST = 0.05
#: Lowest temperature of the exponential form, which would come to 0 where layers are hundreds of nats apart.
_FROZEN = 1e-3
#: Columns of the head that are gathered at once.
_PIECE = 256


class DynamicFocusSettings(Settings):
    """Settings of dynamic focus decoding."""

    temperature: float = Field(default=1.1, gt=0.0, le=10.0)
    """Temperature where the layers agree, T0."""
    sigma: float = Field(default=4.0, ge=-100.0, le=100.0)
    """How little disagreement changes it. ``exponential`` halves the temperature for every sigma nats."""
    form: Literal["exponential", "linear", "sigmoid"] = "exponential"
    """``exponential``: T0 (1/2)^(KA / sigma). ``linear``: T0 + sigma KA, which cools with a negative sigma.
    ``sigmoid``: T0 + sigma / (sigma + e^(KA / sigma))."""
    layers: Region | Blocks = Field(default="all", min_length=1)
    """The early layers that the last one is compared with: ``all``, every other block of the ``low`` or ``high`` half,
    or blocks counted from 0."""
    ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """The layers are compared on the tokens with at least this share of the best one's probability."""
    norm: bool = False
    """Whether early states go through the final norm before the head; the published code leaves it out."""

    @model_validator(mode="after")
    def _sign(self) -> Self:
        if self.sigma == 0 or (self.sigma < 0 and self.form != "linear"):
            raise ValueError(f"sigma: {self.sigma:g} has no meaning in the form '{self.form}'; it must be above 0")
        return self


@register("rule", "dynamic_focus", DynamicFocusSettings)
class DynamicFocus(Rule):
    """Dynamic focus decoding: the composed distribution at a temperature of the token's own.

    ``KA`` is the mean over early layers of ``KL(p_last || p_layer)`` in nats, both restricted to the tokens with
    ``p_last >= ratio max p_last`` and renormalised there; high where the model recalls knowledge. The temperature falls
    with it. Source: arXiv 2503.08057 (ACL 2025) and its code. The layers are those of the target without what other
    rules make of it; the temperature acts on what they made, so that it is the last rule of its chain and the only
    temperature of its pipeline. The linear form stops at 0.05, the exponential one at 0.001, which is greedy.
    """

    def __init__(self, settings: DynamicFocusSettings) -> None:
        super().__init__(settings)
        self.layers = settings.layers if isinstance(settings.layers, tuple) else (0,)  # until it meets a model
        self._idle: DynamicFocus | None = None

    @property
    def views(self) -> Sequence[str]:
        """None: the layers are the target's own."""
        return ()

    def check(self, company: Company) -> None:
        """Refuse a second temperature, and rules that would act after it."""
        if company.sampling.temperature not in (0, 1):
            raise InputError(
                "sets the temperature of every token; "
                f"'sampling.temperature: {company.sampling.temperature:g}' would be a second one",
                hint="set sampling.temperature: 1, and the rule's own 'temperature'",
            )
        if company.rules[-1] is not self:
            raise InputError(
                f"sets the temperature of what all rules make; '{company.rules[-1].part_name}' stands after it",
                hint="put it last",
            )

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Find the layers of this model."""
        self.layers = settle(self.part_name, self.settings.layers, models[_TARGET])

    def start(self, request: Request) -> Rule:
        """Itself; with a note where nothing is drawn, since the best token is the best at any temperature."""
        if request.sampling.temperature > 0:
            return self
        if self._idle is None or self._idle.layers != self.layers:
            self._idle = copy.copy(self)
            self._idle.notes = ("rule dynamic_focus changed nothing: at temperature 0 nothing is drawn",)
        return self._idle

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """The composed log-probabilities over each token's temperature ``[N, V]``."""
        return nodes.composed / self._temperature(self._disagreement(nodes))

    def _disagreement(self, nodes: Nodes) -> torch.Tensor:
        """KA ``[N, 1]`` in nats; the head's columns alone are projected."""
        import torch

        log_probs = nodes.log_probs[_TARGET]
        kept = head(log_probs, self.settings.ratio)
        width = int(kept.sum(dim=-1).max())
        top = log_probs.topk(width, dim=-1)  # [N, C]
        outside = ~kept.gather(-1, top.indices)
        last = torch.log_softmax(top.values.masked_fill(outside, -torch.inf), dim=-1)
        weight = last.exp()
        total = torch.zeros_like(last[:, :1])
        for layer in self.layers:
            logits = self._columns(nodes.early[layer], top.indices).to(last.dtype)
            early = torch.log_softmax(logits.masked_fill(outside, -torch.inf), dim=-1)
            gap = (last - early).masked_fill(outside, 0.0)
            total = total + (weight * gap).sum(dim=-1, keepdim=True)
        return total / len(self.layers)

    def _columns(self, layer: EarlyLayer, columns: torch.Tensor) -> torch.Tensor:
        import torch

        pieces = columns.split(_PIECE, dim=-1)
        return torch.cat([layer.logits(piece, normed=self.settings.norm) for piece in pieces], dim=-1)

    def _temperature(self, disagreement: torch.Tensor) -> torch.Tensor:
        base, sigma = self.settings.temperature, self.settings.sigma
        temperature: torch.Tensor
        if self.settings.form == "linear":
            temperature = (base + sigma * disagreement).clamp(min=_COLDEST)
        elif self.settings.form == "sigmoid":
            temperature = base + sigma / (sigma + (disagreement / sigma).exp())
        else:
            temperature = (base * (-disagreement / sigma).exp2()).clamp(min=_FROZEN)
        return temperature
