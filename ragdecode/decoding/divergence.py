"""Entropy and Kullback-Leibler divergence of next-token distributions, finite where tokens are impossible."""

from __future__ import annotations

import torch

#: Stands for the logarithm of 0: a probability of 0 in one of two distributions would make their divergence infinite.
_FLOOR = -1e4


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats ``[N]`` of log-probabilities ``[N, V]``."""
    finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
    return -(finite.exp() * finite).sum(-1)


def kl(target: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(target || other) in nats ``[N]`` of log-probabilities ``[N, V]``; finite, impossible tokens included."""
    return (target.exp() * (target.clamp(min=_FLOOR) - other.clamp(min=_FLOOR))).sum(-1)
