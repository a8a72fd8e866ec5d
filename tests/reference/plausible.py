"""The plausibility mask alone, over one position in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from tests.reference.contrast import head


def masked(
    compose: Callable[[dict], torch.Tensor], views: Sequence[str], ratio: float
) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """What ``compose`` makes, on the tokens that are plausible in at least one of the views."""

    def scores(log_probs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        heads = [head(log_probs[view].tolist(), ratio) for view in views]
        made = compose(dict(log_probs)).tolist()
        kept = [any(one[token] for one in heads) for token in range(len(made))]
        return torch.tensor([x if yes else -math.inf for x, yes in zip(made, kept, strict=True)], dtype=torch.float64)

    return scores
