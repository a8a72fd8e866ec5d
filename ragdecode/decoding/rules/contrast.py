"""Contrastive decoding: prefer what a strong view says and a weak one does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from ragdecode.decoding.contrasting import begins_from, finite, head, within
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

#: Strength of each form where none is given: lambda of Li et al., beta of O'Brien and Lewis.
_STRENGTH = {"li": 1.0, "obrien": 0.5}


class ContrastSettings(Settings):
    """Settings of contrastive decoding."""

    amateur: str
    """The weak view: one of ``decode.views`` on a smaller model, an early exit of the model, another prompt."""
    expert: str | None = None
    """The strong view; left out, the target, or what the rule before in the chain made of it."""
    form: Literal["obrien", "li"] = "obrien"
    """``obrien`` keeps the scale, which suits sampling; ``li`` is the likelihood ratio of the first paper."""
    strength: float | None = Field(default=None, ge=0.0, le=10.0)
    """Beta of ``obrien`` (0.5 if left out), lambda of ``li`` (1 if left out)."""
    ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Tokens with less than this share of the expert's best probability are out; 0 keeps all, in ``obrien`` only."""
    temperature: float = Field(default=1.0, gt=0.0, le=10.0)
    """Divides the amateur's log-probabilities, as the first paper's code does; below 1 they count more."""

    @model_validator(mode="after")
    def _two_views(self) -> Self:
        if self.amateur == (self.expert or "with_context"):
            raise ValueError(f"the amateur '{self.amateur}' is the expert itself; name another view")
        if self.form == "li" and self.ratio == 0:
            raise ValueError("'li' without a mask (ratio: 0) prefers tokens that no view finds likely; set a ratio")
        return self


@register("rule", "contrast", ContrastSettings)
class Contrast(Rule):
    """Contrastive decoding: the expert's prediction less the amateur's, on tokens that the expert finds plausible.

    ``li``: ``log p_e - strength log p_a / temperature``, Li et al., arXiv 2210.15097. ``obrien``: ``(1 + strength)
    log p_e - strength log p_a / temperature``, O'Brien and Lewis, arXiv 2309.09117. Both normalised on the head
    ``p_e >= ratio max p_e``. The paper speaks of an amateur temperature, which reads as inside the softmax
    (unconfirmed); inside or outside, the distribution is the same.
    """

    strength = "strength"

    @property
    def views(self) -> Sequence[str]:
        """The amateur, and the expert if it is a view of its own."""
        expert = self.settings.expert
        return tuple(view for view in (self.settings.amateur, expert) if view not in (None, "with_context"))

    def check(self, company: Company) -> None:
        """Refuse a chain that begins with another rule, if the expert view is not what that rule makes.

        Raises:
            InputError: What it makes would be lost.
        """
        begins_from(self.settings.expert, self, company)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; what is impossible in the composed distribution so far stays so."""
        settings = self.settings
        expert = nodes.composed if settings.expert is None else nodes.log_probs[settings.expert]
        strength = _STRENGTH[settings.form] if settings.strength is None else settings.strength
        own = 1.0 + strength if settings.form == "obrien" else 1.0
        amateur = finite(nodes.log_probs[settings.amateur])
        scores = own * finite(expert) - (strength / settings.temperature) * amateur
        return within(head(expert, settings.ratio), scores, nodes.composed)
