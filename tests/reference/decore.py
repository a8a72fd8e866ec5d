"""Contrast of retrieval heads at one position, token by token in plain numbers (arXiv 2410.18860)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch


def decore(
    alpha: float | None = None,
    *,
    normalise: bool = False,
    cap: float | None = None,
    ratio: float = 0.0,
    base: Callable[[Mapping[str, torch.Tensor]], torch.Tensor] | None = None,
) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """Scores [V]: ``(1 + a) l_b - a l_m``, a the entropy of the base in nats unless it is given."""

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        l_b = (log_probs["with_context"] if base is None else torch.log_softmax(base(log_probs), -1)).tolist()
        l_m = log_probs["masked"].tolist()
        weight = alpha
        if weight is None:
            weight = -sum(math.exp(x) * x for x in l_b)
            if normalise:
                weight /= math.log(len(l_b))
            if cap is not None:
                weight = min(weight, cap)
        scores = [(1 + weight) * x - weight * y for x, y in zip(l_b, l_m, strict=True)]
        if ratio:
            scores = [s if x >= max(l_b) + math.log(ratio) else -math.inf for s, x in zip(scores, l_b, strict=True)]
        return torch.tensor(scores, dtype=torch.float64)

    return compose
