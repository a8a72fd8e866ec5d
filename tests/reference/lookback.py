"""Look-back decoding in plain numbers, every distribution from a whole prompt (arXiv 2305.13477, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tests.reference.steps import Step, all_log_probs


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) of log-probabilities [V]."""
    return sum(math.exp(a) * (a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a != -math.inf)


def lookback(
    model,
    prompt: Sequence[int],
    *,
    alpha: float,
    top_k: int,
    window: int,
    places: int,
    with_prompt: bool = False,
    greedy: bool = True,
    alarms: list[bool] | None = None,
) -> Step:
    """Scores of the next token; the last ``places`` of the prompt are led back to, ``alarms`` is told."""
    before = all_log_probs(model, prompt)[:-1]  # what every token of the prompt but the last predicts
    target = before[-places:]

    def step(tokens: list[int]) -> torch.Tensor:
        answer = all_log_probs(model, [*prompt, *tokens])[len(prompt) - 1 :]
        now, past = answer[-1], answer[:-1]
        seen = [*(target if with_prompt else ()), *past][-window:]
        alarm = bool(seen) and min(kl(now, one) for one in seen) <= alpha
        if alarms is not None:
            alarms.append(alarm)
        if not alarm and not greedy:
            return now
        scores = torch.full_like(now, -torch.inf)
        if not alarm:
            scores[int(now.argmax())] = 0.0
            return scores
        for token in now.topk(top_k).indices.tolist():
            after = all_log_probs(model, [*prompt, *tokens, token])[-1]
            scores[token] = -min(kl(after, one) for one in target)
        return scores

    return step
