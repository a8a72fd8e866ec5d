"""AdaCAD over one position, in plain numbers (arXiv 2409.07394; offset as in the authors' code)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def divergence(p: list[float], q: list[float]) -> float:
    """Jensen-Shannon divergence of two distributions, natural logarithm."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += (a * math.log(a / m) if a > 0 else 0.0) / 2
        total += (b * math.log(b / m) if b > 0 else 0.0) / 2
    return total


def adacad(offset: float = 0.0, floor: float = 0.0) -> Callable[[dict], torch.Tensor]:
    """(1 + alpha) z_c - alpha z with alpha = JSD + offset, and at least the floor."""

    def compose(log_probs: dict[str, torch.Tensor]) -> torch.Tensor:
        z_c, z = log_probs["with_context"], log_probs["without_context"]
        alpha = max(divergence(z_c.exp().tolist(), z.exp().tolist()) + offset, floor)
        return (1 + alpha) * z_c - alpha * z

    return compose
