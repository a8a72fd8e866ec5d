"""VDGD's score with passages in place of an image's description, in plain numbers (arXiv 2405.15683, section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from tests.reference.steps import Step, all_log_probs


def knee(probs: Sequence[float]) -> set[int]:
    """The tokens before the largest drop of the sorted probabilities, and those that tie with the last of them."""
    ordered = sorted(probs, reverse=True)
    drops = [a - b for a, b in pairwise(ordered)]
    last = ordered[drops.index(max(drops))]
    return {v for v, p in enumerate(probs) if p >= last}


def nucleus(probs: Sequence[float], top_p: float, temperature: float) -> set[int]:
    """The smallest set with this mass at a temperature, and those that tie with its last."""
    heated = [p ** (1 / temperature) for p in probs]
    heated = [p / sum(heated) for p in heated]
    mass, last = 0.0, 0.0
    for p in sorted(heated, reverse=True):
        mass, last = mass + p, p
        if mass >= top_p:
            break
    return {v for v, p in enumerate(heated) if p >= last}


def grounded(
    model,
    prompt: Sequence[int],
    spans: Sequence[tuple[int, int]],
    *,
    gamma: float | None,
    top_p: float | None = None,
    temperature: float = 1.0,
) -> Step:
    """Scores by ``- min_j KL(onehot_v || p_j) = max_j log p_j(v)``; ``gamma`` None is the paper's form."""
    read = all_log_probs(model, prompt)
    places = {place for start, stop in spans for place in range(start - 1, stop - 1) if place >= 0}

    def step(tokens: list[int]) -> torch.Tensor:
        log_probs = all_log_probs(model, [*prompt, *tokens])[-1]
        probs = log_probs.exp().tolist()
        kept = knee(probs) if top_p is None else nucleus(probs, top_p, temperature)
        scores = []
        for v in range(len(probs)):
            divergence = min(-float(read[place, v]) for place in places)
            mine = -divergence if gamma is None else float(log_probs[v]) - gamma * divergence
            scores.append(mine if v in kept else -math.inf)
        return torch.tensor(scores, dtype=torch.float64)

    return step
