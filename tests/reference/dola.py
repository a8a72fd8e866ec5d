"""DoLa from the paper (arXiv 2309.03883), one position in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def jsd(p: Sequence[float], q: Sequence[float]) -> float:
    """Jensen-Shannon divergence in nats."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += (a * math.log(a / m) if a > 0 else 0.0) / 2 + (b * math.log(b / m) if b > 0 else 0.0) / 2
    return total


def dola(layers: Sequence[str], ratio: float, view: str = "with_context"):
    """Of the named early layers the one farthest from the last; log q_last - log q_early on the plausible tokens."""

    def compose(log_probs: dict[str, torch.Tensor]) -> torch.Tensor:
        last = [float(x) for x in log_probs[view].exp()]
        tables = [[float(x) for x in log_probs[layer].exp()] for layer in layers]
        distances = [jsd(last, table) for table in tables]
        early = tables[distances.index(max(distances))]
        scores = [
            math.log(p) - math.log(q) if p >= ratio * max(last) else -math.inf for p, q in zip(last, early, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float64)

    return compose
