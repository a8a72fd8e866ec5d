"""Dynamic focus decoding from the paper (arXiv 2503.08057), one position in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def disagreement(last: torch.Tensor, layers: Sequence[torch.Tensor], ratio: float) -> float:
    """KA: mean KL(last || layer) on the head, renormalised there."""
    p = [float(x) for x in last.exp()]
    kept = [token for token, share in enumerate(p) if share >= ratio * max(p)]
    total = 0.0
    for layer in layers:
        q = [math.exp(float(layer[token])) for token in kept]
        for token, share in zip(kept, q, strict=True):
            a, b = p[token] / sum(p[k] for k in kept), share / sum(q)
            total += a * math.log(a / b)
    return total / len(layers)


def temperature(ka: float, base: float, sigma: float, form: str = "exponential") -> float:
    """T of a token."""
    if form == "linear":
        return max(base + sigma * ka, 0.05)
    if form == "sigmoid":
        return base + sigma / (sigma + math.exp(ka / sigma))
    return base * 0.5 ** (ka / sigma)


def dynamic_focus(layers: Sequence[str], base: float, sigma: float, ratio: float, form: str = "exponential", of=None):
    """The last layer's scores, or those of another rule, over the token's temperature."""

    def compose(log_probs: dict[str, torch.Tensor]) -> torch.Tensor:
        last = log_probs["with_context"]
        ka = disagreement(last, [log_probs[layer] for layer in layers], ratio)
        scores = last if of is None else torch.log_softmax(of(log_probs), -1)
        return scores / temperature(ka, base, sigma, form)

    return compose
