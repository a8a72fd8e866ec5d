"""Decoding from its definitions: whole prompts re-run at every step, no cache, no batch, no drafts, float64.

Slow and plain on purpose, and independent of the package: tests compare the engine with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from transformers import PreTrainedModel

#: Log-probabilities of each view [V] -> scores [V], normalised afterwards.
Compose = Callable[[dict[str, torch.Tensor]], torch.Tensor]

#: Tokens generated so far -> tokens that may come next, bool [V]; None allows all.
Allowed = Callable[[list[int]], torch.Tensor | None]


def next_log_probs(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities [V] of the token after ``ids``, in float64."""
    with torch.no_grad():
        logits = model(torch.tensor([list(ids)], device=model.device), use_cache=False).logits[0, -1]
    return torch.log_softmax(logits.double(), dim=-1)


def plain(view: str = "with_context") -> Compose:
    """One view as it is."""
    return lambda log_probs: log_probs[view]


def cad(alpha: float, view: str = "with_context", against: str = "without_context") -> Compose:
    """Context-aware decoding: (1 + alpha) z(y | c, x) - alpha z(y | x). arXiv 2305.14739."""
    return lambda log_probs: (1 + alpha) * log_probs[view] - alpha * log_probs[against]


def greedy(
    models_and_prompts: Mapping[str, tuple[PreTrainedModel, Sequence[int]]],
    compose: Compose,
    end_tokens: Collection[int],
    max_new_tokens: int,
    *,
    allowed: Allowed | None = None,
    repetition_penalty: float = 1.0,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    noise: Callable[[int], torch.Tensor] | None = None,
) -> tuple[list[int], torch.Tensor]:
    """Decode token by token; the argmax at temperature 0, else the argmax of log p + noise(position).

    An end token ends the answer and is not part of it; so does a position where nothing is allowed.

    Returns:
        The tokens, and the composed log-probabilities at each of them [tokens, V]: before the constraint, the
        penalty and the sampling transforms.
    """
    if temperature > 0 and noise is None:
        raise ValueError("sampling needs noise")
    tokens: list[int] = []
    rows: list[torch.Tensor] = []
    while len(tokens) < max_new_tokens:
        views = {
            name: next_log_probs(model, [*prompt, *tokens]) for name, (model, prompt) in models_and_prompts.items()
        }
        composed = torch.log_softmax(compose(views), dim=-1)
        scores = composed.clone()
        permitted = allowed(tokens) if allowed is not None else None
        if permitted is not None:
            if not permitted.any():
                break
            scores[~permitted] = -torch.inf
        for token in set(tokens):
            scores[token] = scores[token] * repetition_penalty
        if temperature > 0:
            assert noise is not None
            probs = warped(scores, temperature, top_k, top_p, min_p)
            scores = probs.log() + noise(len(tokens)).to(probs)
        token = int(scores.argmax())
        if token in end_tokens:
            break
        tokens.append(token)
        rows.append(composed)
    return tokens, torch.stack(rows) if rows else torch.empty(0, 0, dtype=torch.float64)


def warped(scores: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> torch.Tensor:
    """Probabilities [V] after temperature, top-k, top-p and min-p, in this order; ties at a threshold stay in.

    Each filter sees the distribution that the one before it left, renormalised.
    """
    weights = ((scores - scores.max()) / temperature).exp()
    probs = _renormalised([float(weight) for weight in weights])
    if top_k > 0:
        smallest_kept = sorted(probs, reverse=True)[:top_k][-1]
        probs = _renormalised([p if p >= smallest_kept else 0.0 for p in probs])
    if top_p < 1:
        mass, smallest_kept = 0.0, 0.0
        for p in sorted(probs, reverse=True):
            mass, smallest_kept = mass + p, p
            if mass >= top_p:
                break
        probs = _renormalised([p if p >= smallest_kept else 0.0 for p in probs])
    if min_p > 0:
        best = max(probs)
        probs = _renormalised([p if p >= min_p * best else 0.0 for p in probs])
    return torch.tensor(probs, dtype=torch.float64)


def _renormalised(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
