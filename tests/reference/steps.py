"""Decoding step by step for methods that look at more than the views' next token: whole prompts re-run each time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch

from tests.reference.naive import warped

#: Tokens generated so far -> scores [V] of the next one, normalised afterwards.
Step = Callable[[list[int]], torch.Tensor]


def all_log_probs(model: Callable, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities [n, V] after every token of ``ids``, in float64."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([list(ids)]), use_cache=False).logits[0].double(), dim=-1)


def decode(
    step: Step,
    max_new_tokens: int,
    end_tokens: Collection[int] = (),
    *,
    temperature: float = 0.0,
    noise: Callable[[int], torch.Tensor] | None = None,
) -> tuple[list[int], list[float]]:
    """The tokens, and the composed log-probability of each."""
    tokens: list[int] = []
    found: list[float] = []
    while len(tokens) < max_new_tokens:
        composed = torch.log_softmax(step(list(tokens)), dim=-1)
        scores = composed
        if temperature > 0:
            assert noise is not None
            scores = warped(composed, temperature, 0, 1.0, 0.0).log() + noise(len(tokens)).to(composed)
        token = int(scores.argmax())
        if token in end_tokens:
            break
        tokens.append(token)
        found.append(float(composed[token]))
    return tokens, found
