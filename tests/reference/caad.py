"""CAAD / RAD from its definition (arXiv 2508.02184, v2): dense memory rows, loops, float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def guidance(
    query: Sequence[float],
    keys: Sequence[Sequence[float]],
    values: Sequence[torch.Tensor],
    threshold: float,
    most: int,
    mean: bool = False,
) -> torch.Tensor | None:
    """``g = sum_A w_i L_i`` with ``A = {i: c_i > threshold}``, the ``most`` best at most; None if A is empty."""
    cosines = [sum(float(a) * float(b) for a, b in zip(query, key, strict=True)) for key in keys]
    taken = sorted((at for at, c in enumerate(cosines) if c > threshold), key=lambda at: (-cosines[at], at))[:most]
    if not taken:
        return None
    weights = [1.0 if mean else cosines[at] for at in taken]
    total = torch.zeros_like(values[0])
    for at, weight in zip(taken, weights, strict=True):
        total += weight / sum(weights) * values[at]
    return total


def shaped(log_probs: torch.Tensor, given: torch.Tensor | None, alpha: float, form: str) -> torch.Tensor:
    """Log-probabilities ``[V]`` after the guidance."""
    if given is None:
        return log_probs
    if form == "linear":
        return torch.log_softmax(log_probs + alpha * given, -1)
    if form == "delta":
        return torch.log_softmax((1 - alpha) * log_probs + alpha * given, -1)
    return torch.log((1 - alpha) * log_probs.exp() + alpha * torch.softmax(given, -1))


def row(ids: Sequence[int], log_probs: Sequence[float], rest: float, vocab: int) -> torch.Tensor:
    """A dense row of log-probabilities from the best few and what each of the others has."""
    dense = torch.full((vocab,), float(rest), dtype=torch.float64)
    for token, value in zip(ids, log_probs, strict=True):
        dense[token] = float(value)
    return dense
