"""Adaptive contrastive decoding over one position, in plain numbers (arXiv 2408.01084, equations 2 and 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def entropy(log_probs: torch.Tensor) -> float:
    """Shannon entropy in nats of log-probabilities [V]; 0 log 0 is 0."""
    return -sum(math.exp(x) * x for x in log_probs.tolist() if x != -math.inf)


def weight(open_book: torch.Tensor, closed_book: torch.Tensor) -> float:
    """Alpha: H(closed) / (H(closed) + H(open)). The paper leaves 0 / 0 open; the evidence is followed then."""
    h, h_c = entropy(closed_book), entropy(open_book)
    return 1.0 if max(h, h_c) < 1e-6 else h / (h + h_c)


def acd(view: str = "with_context", against: str = "without_context") -> Callable[[dict], torch.Tensor]:
    """z + alpha (z_c - z), with alpha from the two entropies."""

    def compose(log_probs: dict[str, torch.Tensor]) -> torch.Tensor:
        alpha = weight(log_probs[view], log_probs[against])
        return log_probs[against] + alpha * (log_probs[view] - log_probs[against])

    return compose
