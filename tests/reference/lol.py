"""LOL (arXiv 2408.08769) as this package reads it, one position in plain numbers."""

from __future__ import annotations

import math

import torch


def lol(beta: float, low: float, ratio: float, truth: float = 0.0):
    """Views: with_context, weak, both after a lower block (low, weak_low), and the truthful one."""

    def compose(views: dict[str, torch.Tensor]) -> torch.Tensor:
        p = [float(x) for x in views["with_context"]]
        scores = []
        for token in range(len(p)):
            last = beta * p[token] - float(views["weak"][token])
            lower = beta * float(views["low"][token]) - float(views["weak_low"][token])
            refocused = truth * (float(views["truth"][token]) - p[token]) if truth else 0.0
            kept = p[token] >= max(p) + math.log(ratio)
            scores.append(last + low * lower + refocused if kept else -math.inf)
        return torch.tensor(scores, dtype=torch.float64)

    return compose
