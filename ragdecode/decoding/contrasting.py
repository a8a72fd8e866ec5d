"""What rules that weigh one view against another share: the subtracted view, floors, masks, entropies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import field_validator

from ragdecode.errors import InputError
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.rule import Company, Rule

#: Lowest log-probability that is computed with: minus infinity less minus infinity has no value.
FLOOR = -1e4


class AgainstSettings(Settings):
    """Which view the evidence is weighed against."""

    against: str = "without_context"
    """The view that does not know the evidence."""

    @field_validator("against")
    @classmethod
    def _another_view(cls, against: str) -> str:
        if against == "with_context":
            raise ValueError("'with_context' is the view that is decoded: divided by itself it stays as it is")
        return against


def finite(log_probs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities without infinities, in the same shape."""
    return log_probs.clamp(min=FLOOR)


def only_possible(scores: torch.Tensor, composed: torch.Tensor) -> torch.Tensor:
    """Scores ``[N, V]``, minus infinity for tokens that ``composed [N, V]`` rules out."""
    return scores.masked_fill(composed.isneginf(), -math.inf)


def contrasted(composed: torch.Tensor, against: torch.Tensor, weight: torch.Tensor | float) -> torch.Tensor:
    """``(1 + weight) composed - weight against``, scores ``[N, V]``; what is impossible in composed stays impossible.

    Args:
        composed: Log-probabilities that are strengthened ``[N, V]``.
        against: Log-probabilities that are divided out ``[N, V]``.
        weight: How much, for all nodes or of each ``[N, 1]``.
    """
    main = finite(composed)
    return only_possible(main + weight * (main - finite(against)), composed)


def head(log_probs: torch.Tensor, ratio: float) -> torch.Tensor:
    """The plausible tokens, bool ``[N, V]``: at least ``ratio`` of the most probable one's probability.

    The most probable token is always among them. With a ratio of 0 all tokens are.
    """
    threshold = math.log(ratio) if ratio > 0 else -math.inf
    return log_probs >= log_probs.amax(dim=-1, keepdim=True) + threshold


def within(kept: torch.Tensor, scores: torch.Tensor, composed: torch.Tensor) -> torch.Tensor:
    """Scores ``[N, V]`` of the kept tokens that are possible in ``composed``, minus infinity for all others.

    At a node where no kept token is possible, which can be where a rule before has masked others, composed stays.
    """
    inside = kept & ~composed.isneginf()
    masked = scores.masked_fill(~inside, -math.inf)
    return masked.where(inside.any(dim=-1, keepdim=True), composed)


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Shannon entropy in nats ``[N, 1]`` of finite log-probabilities ``[N, V]``."""
    return -(log_probs.exp() * log_probs).sum(dim=-1, keepdim=True)


def divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence in nats, from 0 to ln 2, ``[N, 1]`` of finite log-probabilities ``[N, V]``."""
    middle = one.logaddexp(other) - math.log(2)
    both = one.exp() * (one - middle) + other.exp() * (other - middle)
    return (both.sum(dim=-1, keepdim=True) / 2).clamp(min=0)


def begins_from(view: str | None, rule: Rule, company: Company) -> None:
    """Refuse a rule that begins from a view of its own behind another rule; None is what that rule makes.

    Raises:
        InputError: What the other rule makes would be lost.
    """
    first = company.rules[0]
    if view is not None and first is not rule:
        raise InputError(
            f"'{rule.part_name}' begins from the view '{view}': what '{first.part_name}' makes would be lost",
            hint=f"put '{rule.part_name}' first, or leave the name of that view out",
        )
