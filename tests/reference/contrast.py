"""Contrastive decoding over one position, token by token in plain numbers.

Li et al., arXiv 2210.15097: ``log p_e - lambda log p_a / tau`` on the head of the expert. O'Brien and Lewis,
arXiv 2309.09117: ``(1 + beta) z_e - beta z_a`` on the same head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch


def head(log_probs: list[float], ratio: float) -> list[bool]:
    """Tokens with at least this share of the best one's probability; all of them at 0."""
    best = max(log_probs)
    return [ratio == 0 or x >= best + math.log(ratio) for x in log_probs]


def contrast(
    form: str,
    strength: float,
    *,
    ratio: float = 0.1,
    tau: float = 1.0,
    expert: str = "with_context",
    amateur: str = "amateur",
) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """Scores [V], minus infinity off the head."""

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        e, a = log_probs[expert].tolist(), log_probs[amateur].tolist()
        own = 1.0 if form == "li" else 1.0 + strength
        scores = [
            own * x - strength * y / tau if kept else -math.inf for x, y, kept in zip(e, a, head(e, ratio), strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float64)

    return compose
