"""COIECD over one position, token by token in plain numbers, as its authors' decoding.py computes it.

There the information content of every token under the context, less an entropy, goes through a log-softmax. The
entropy is a constant and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def coiecd(alpha: float = 1.0, ratio: float = 0.25) -> Callable[[dict], torch.Tensor]:
    """base + alpha (z_c - z): base z for tokens within the bounds, z_c for those outside."""

    def compose(log_probs: dict[str, torch.Tensor]) -> torch.Tensor:
        z_c, z = log_probs["with_context"].tolist(), log_probs["without_context"].tolist()
        entropy = -sum(math.exp(x) * x for x in z)
        content = [-x - entropy for x in z_c]
        largest = max(content)
        total = largest + math.log(sum(math.exp(x - largest) for x in content))
        content = [x - total for x in content]
        threshold = min(content) + math.log(1 / ratio)
        ceiling = max(content) - math.log(1 / ratio)
        within = [x >= threshold for x in content]
        if sum(x < threshold for x in content) == 1:
            within = [True] * len(content)
        within = [inside and not x > ceiling for inside, x in zip(within, content, strict=True)]
        scores = [
            (b if inside else a) + alpha * (a - b) for a, b, inside in zip(z_c, z, within, strict=True)
        ]  # fmt: skip
        return torch.tensor(scores, dtype=torch.float64)

    return compose
