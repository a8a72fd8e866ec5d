"""Rules that bring a weak view of their own, over one position.

Instructive decoding (arXiv 2311.00233), induce-then-contrast decoding (arXiv 2312.15710) and leading query contrastive
decoding (arXiv 2408.11261), each on the raw log-probabilities of its views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from tests.reference.contrast import head

Compose = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


def instructive(epsilon: float, *, rescale: bool = False, noisy: str = "noisy_instruction") -> Compose:
    """z - epsilon z_noisy, divided by 1 - epsilon if the scale is to be kept."""

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        scores = log_probs["with_context"] - epsilon * log_probs[noisy]
        return scores / (1 - epsilon) if rescale else scores

    return compose


def _on_head(scores: torch.Tensor, main: torch.Tensor, ratio: float) -> torch.Tensor:
    kept = head(main.tolist(), ratio)
    values = [x if yes else -math.inf for x, yes in zip(scores.tolist(), kept, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def induced(beta: float, ratio: float, *, weak: str = "induced") -> Compose:
    """beta log p - log p_weak on the head of the base."""

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        base = log_probs["with_context"]
        return _on_head(beta * base - log_probs[weak], base, ratio)

    return compose


def leading_query(
    alpha: float, ratio: float, *, neutral: str = "with_context", leading: str = "leading_query"
) -> Compose:
    """(1 + alpha) z(neutral) - alpha z(leading), on the head of the neutral view."""

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        main = log_probs[neutral]
        return _on_head((1 + alpha) * main - alpha * log_probs[leading], main, ratio)

    return compose
