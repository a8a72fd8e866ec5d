"""Attention-guided context decoding at one position, token by token in plain numbers (arXiv 2501.01059)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def lifted(
    probs: Sequence[float],
    attention: Sequence[Sequence[float]],
    span_ids: Sequence[int],
    coefficients: Sequence[float],
    intercept: float,
    rank: int,
) -> list[float]:
    """U [V]: ``attention`` has a row a head, over the places of the span, whose ids are ``span_ids``."""
    ids = sorted(set(span_ids))
    shares = []
    for row in attention:
        means = []
        for u in ids:
            places = [a for a, token in zip(row, span_ids, strict=True) if token == u]
            means.append(sum(places) / len(places))
        shares.append([mean / max(sum(means), 1e-8) for mean in means])
    gate = sorted(probs, reverse=True)[min(rank, len(probs)) - 1]
    scores = [0.0] * len(probs)
    for column, u in enumerate(ids):
        own = [row[column] for row in shares]
        if intercept + sum(c * r for c, r in zip(coefficients, own, strict=True)) <= 0 or probs[u] < gate:
            continue
        scores[u] = max(0.0, sum(c / sum(coefficients) * r for c, r in zip(coefficients, own, strict=True)))
    total = sum(scores)
    return [score / total for score in scores] if total else scores


def added(probs: Sequence[float], u: Sequence[float], alpha: float) -> torch.Tensor:
    """Log of ``P + alpha H(P) / ln V U`` [V], not normalised."""
    entropy = -sum(p * math.log(p) for p in probs if p > 0) / math.log(len(probs))
    return torch.tensor([p + alpha * entropy * x for p, x in zip(probs, u, strict=True)], dtype=torch.float64).log()
