"""Alignment-enhanced decoding: where the candidates balloon, move to what is predicted without the suspect text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.contrasting import AgainstSettings, finite, only_possible
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch


class AlignmentSettings(AgainstSettings):
    """Settings of alignment-enhanced decoding."""

    usual: float = Field(default=300.0, gt=0.0)
    """Nucleus size that harmless requests reach with this model, in tokens; the guard closes beyond it."""
    mass: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Probability that the nucleus holds."""
    margin: float = Field(default=1.0, ge=0.0, le=10.0)
    """How many usual sizes the nucleus has to exceed that of the other view by, before half of the weight moves."""
    first: int = Field(default=30, ge=1)
    """How many tokens of the answer are guarded."""


@register("rule", "alignment", AlignmentSettings)
class Alignment(Rule):
    """Alignment-enhanced decoding: a guard against instructions that came with the text.

    ``log p = (1 - c) log p_c + c log p_post`` with ``c = sigmoid(S_c - S_post - margin usual)``, where S is the size of
    the smallest set of tokens with ``mass`` of the probability; for the first tokens of the answer only. p_post is the
    same model without the suspect text. Source: AED, "Alignment-Enhanced Decoding", EMNLP 2024, by the paper's
    formula: its released code never calls the update of the weight. There p_post sees nothing but the answer; by
    default here it sees the question without the passages, so that what is guarded against are instructions in
    passages. The usual size belongs to a model and has to be found on one's own harmless requests.
    """

    @property
    def views(self) -> Sequence[str]:
        """The view without the suspect text."""
        return (self.settings.against,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; in a chain, what is composed so far takes the model's part."""
        import torch

        settings = self.settings
        guarded = [length < settings.first for length in nodes.lengths]
        if not any(guarded):
            return nodes.composed
        early = torch.tensor(guarded, device=nodes.composed.device)
        post = nodes.log_probs[settings.against]
        excess = nucleus_size(nodes.composed, settings.mass) - nucleus_size(post, settings.mass)
        moved = (excess - settings.margin * settings.usual).to(nodes.composed.dtype).sigmoid()  # [N, 1]
        mixed = only_possible(finite(nodes.composed).lerp(finite(post), moved), nodes.composed)
        return mixed.where(early[:, None], nodes.composed)


def nucleus_size(log_probs: torch.Tensor, mass: float) -> torch.Tensor:
    """How many tokens the smallest set with ``mass`` of the probability holds ``[N, 1]``, of ``[N, V]``."""
    ordered = log_probs.exp().sort(dim=-1, descending=True).values
    short = (ordered.cumsum(dim=-1) < mass).sum(dim=-1, keepdim=True)
    return (short + 1).clamp(max=log_probs.shape[-1])
