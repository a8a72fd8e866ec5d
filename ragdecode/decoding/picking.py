"""From composed log-probabilities to the token picked after every node: constraints, penalty, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.guard import Guarded
from ragdecode.decoding.noise import gumbel, uniform
from ragdecode.decoding.sampling import penalise, warp
from ragdecode.decoding.speculation import rejection

if TYPE_CHECKING:
    from ragdecode.decoding.active import Active


def pick(
    active: Active,
    guarded: Guarded,
    log_probs: torch.Tensor,
    target: torch.Tensor,
    accepting: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The token after each node ``[N]``, and whether nothing was allowed there, bool ``[N]``.

    Args:
        active: The request.
        guarded: Its tree, and what is forbidden after each node.
        log_probs: Composed log-probabilities ``[N, V]``.
        target: The target view's log-probabilities ``[N, V]``, which decide where a rule leaves nothing allowed.
        accepting: Log-probabilities that draws are tested by, where a rule asks for others ``[N, V]``.
    """
    tree, sampling = guarded.tree, active.sampling
    scores = _allowed(active, guarded, log_probs, target)
    dead = torch.isneginf(scores.amax(dim=-1))
    if sampling.temperature == 0:
        return scores.argmax(dim=-1), dead
    start = len(active.tokens)
    positions = range(start, start + max(tree.depths) + 1)
    device = log_probs.device
    key = (sampling.seed, active.request.noise_key, active.epoch, positions)
    depths = torch.tensor(tree.depths, device=device)
    noise = gumbel(*key, log_probs.shape[-1], device)[depths]
    scores = warp(scores, sampling).to(noise.dtype)
    if not tree.drawn:
        return (scores + noise).argmax(dim=-1), dead
    if accepting is not None:
        accepting = warp(_allowed(active, guarded, accepting, target), sampling)
    uniforms = uniform(*key, max(len(children) for children in tree.children), device)[depths]
    return rejection.pick(scores, accepting, noise, uniforms, tree), dead


def _allowed(active: Active, guarded: Guarded, log_probs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What is allowed, repetitions penalised: scores ``[N, V]``."""
    scores = log_probs
    if guarded.forbidden is not None:
        forbidden = guarded.forbidden.to(log_probs.device)
        scores = log_probs.masked_fill(forbidden, float("-inf"))
        # a rule's own mask may leave nothing of what the constraint allows: then the target view decides
        empty = torch.isneginf(scores.amax(dim=-1, keepdim=True))
        scores = torch.where(empty, target.masked_fill(forbidden, float("-inf")), scores)
    if active.sampling.repetition_penalty != 1:
        scores = penalise(scores, _seen(active, guarded, log_probs), active.sampling.repetition_penalty)
    return scores


def _seen(active: Active, guarded: Guarded, like: torch.Tensor) -> torch.Tensor:
    """Tokens that the answer holds at each node, ancestors in the tree included, bool ``[N, V]``."""
    tree = guarded.tree
    seen = active.seen(like.shape[-1], like.device).repeat(tree.size, 1)
    for node in range(1, tree.size):
        seen[node, tree.path(node)] = True
    return seen
