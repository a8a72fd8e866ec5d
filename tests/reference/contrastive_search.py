"""Contrastive search from whole prompts (arXiv 2202.06417, equation 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from tests.reference.steps import Step, all_log_probs


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two states."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def contrastive_search(
    model, prompt: Sequence[int], *, alpha: float, top_k: int, counts: Callable[[int], bool] = lambda place: True
) -> Step:
    """(1 - alpha) p(v) - alpha max_j cos(h_v, h_j), over the places j of prompt and answer that count."""

    def step(tokens: list[int]) -> torch.Tensor:
        text = [*prompt, *tokens]
        log_probs = all_log_probs(model, text)[-1]
        scores = torch.full_like(log_probs, -torch.inf)
        for token in log_probs.topk(top_k).indices.tolist():
            states = model.states([*text, token]).tolist()
            like = [cosine(states[-1], states[place]) for place in range(len(text)) if counts(place)]
            scores[token] = (1 - alpha) * math.exp(log_probs[token]) - alpha * max(like, default=0.0)
        return scores

    return step
