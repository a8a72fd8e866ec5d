"""Alignment-enhanced decoding over one position, in plain numbers (EMNLP 2024, equations of section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tests.reference.steps import Step, all_log_probs


def nucleus_size(probs: Sequence[float], mass: float) -> int:
    """Tokens of the smallest set with this mass."""
    total = 0.0
    for count, p in enumerate(sorted(probs, reverse=True), start=1):
        total += p
        if total >= mass:
            return count
    return len(probs)


def aligned(
    model,
    prompt: Sequence[int],
    post: Sequence[int],
    *,
    usual: float,
    mass: float = 0.9,
    margin: float = 1.0,
    first: int = 30,
    weights: list[float] | None = None,
) -> Step:
    """(1 - c) z_model + c z_post for the first tokens, c = sigma(S_t (I_model - I_post - B)) with I = S / S_t."""

    def step(tokens: list[int]) -> torch.Tensor:
        z, z_post = (all_log_probs(model, [*text, *tokens])[-1] for text in (prompt, post))
        index, index_post = (nucleus_size(table.exp().tolist(), mass) / usual for table in (z, z_post))
        c = 1 / (1 + math.exp(-usual * (index - index_post - margin)))
        if weights is not None:
            weights.append(c)
        return z if len(tokens) >= first else (1 - c) * z + c * z_post

    return step
