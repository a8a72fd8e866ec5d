"""Ensembles over passages in plain numbers: REPLUG (arXiv 2301.12652) and its relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

Compose = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


def softmax(numbers: Sequence[float]) -> list[float]:
    """Weights that sum to 1."""
    largest = max(numbers)
    weights = [math.exp(x - largest) for x in numbers]
    return [x / sum(weights) for x in weights]


def by_score(scores: Sequence[float], temperature: float, *, relative: bool) -> list[float]:
    """Softmax of the scores over the temperature; relative ones are divided by the largest absolute one first."""
    unit = max(abs(x) for x in scores) if relative else 1.0
    return softmax([x / (unit or 1.0) / temperature for x in scores])


def by_rank(count: int) -> list[float]:
    """1, 1/2, 1/3, ..., normalised."""
    return [1 / place / sum(1 / k for k in range(1, count + 1)) for place in range(1, count + 1)]


def entropy(probs: Sequence[float]) -> float:
    """In nats; 0 log 0 is 0."""
    return -sum(p * math.log(p) for p in probs if p > 0)


def ensemble(
    weights: Sequence[float] | float,
    count: int = 0,
    *,
    inner: Compose | None = None,
    product: bool = False,
    whole: float = 0.0,
) -> Compose:
    """The mixture of the views passage_1, passage_2, ...

    Args:
        weights: One a passage; or the temperature of weights by entropy, with the ``count`` of passages.
        count: See there.
        inner: What is done to every view first, under the target's name.
        product: Average log-probabilities instead.
        whole: Share of the target's own vote.
    """

    def compose(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        def voice(view: str) -> list[float]:
            scores = log_probs[view]
            if inner is not None:
                scores = torch.log_softmax(inner({**log_probs, "with_context": scores}), -1)
            return [math.exp(x) for x in scores.tolist()]

        places = count or len(weights)  # type: ignore[arg-type]
        voices = [voice(f"passage_{place}") for place in range(1, places + 1)]
        shares = softmax([-entropy(p) / weights for p in voices]) if count else list(weights)  # type: ignore[operator, arg-type]
        if whole > 0:
            shares = [share * (1 - whole) for share in shares] + [whole]
            voices.append(voice("with_context"))
        if product:
            logs = [sum(w * math.log(p[v]) for w, p in zip(shares, voices, strict=True)) for v in range(len(voices[0]))]
        else:
            sums = [sum(w * p[v] for w, p in zip(shares, voices, strict=True)) for v in range(len(voices[0]))]
            logs = [math.log(total) if total > 0 else -math.inf for total in sums]
        return torch.tensor(logs, dtype=torch.float64)

    return compose
