"""Verification by rejection: draws of a drafter are tested against the composed distribution.

A chain is the case of one draw a node (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318), a tree
that of draws without replacement (recursive speculative decoding, arXiv 2402.14160; Sequoia, arXiv 2402.12374).
Every node is decided for itself; which of them are visited is the walk's business.
"""

from __future__ import annotations

import torch

from ragdecode.decoding.tree import Tree


def pick(
    scores: torch.Tensor, moved: torch.Tensor | None, noise: torch.Tensor, uniforms: torch.Tensor, tree: Tree
) -> torch.Tensor:
    """The token after each node ``[N]``: a draw that passes its test, else what the noise draws from the rest.

    Nodes without draws take a token of their own distribution; children that were not drawn but chosen are followed
    where that token is among them.

    Args:
        scores: Composed log-probabilities, as they are sampled from ``[N, V]``.
        moved: Log-probabilities that draws are tested by, where a rule asks for others ``[N, V]``.
        noise: Gumbel noise of each node's position ``[N, V]``.
        uniforms: Numbers in (0, 1) of each node's position ``[N, K]``, K at least the largest number of siblings.
        tree: The tree, N nodes, with what its children were drawn from.
    """
    nodes = [node for node in sorted(tree.drawn) if tree.children[node]]
    at = torch.tensor(nodes, device=scores.device)
    width = max(len(tree.children[node]) for node in nodes)
    siblings = [list(tree.children[node]) for node in nodes]
    draws = torch.tensor([[*own, *(-1,) * (width - len(own))] for own in siblings], device=scores.device)
    q = torch.stack([tree.drawn[node] for node in nodes]).to(noise).exp()
    p = scores[at].to(noise.dtype).exp()
    if moved is None:
        accepted, rest = without_replacement(p, q, draws, uniforms[at])
    else:
        accepted, rest = published(p, moved[at].to(noise.dtype).exp(), q, draws, uniforms[at])
    left = scores.to(noise.dtype).index_copy(0, at, rest.log())
    picked = (left + noise).argmax(dim=-1)
    return picked.index_copy(0, at, torch.where(accepted >= 0, accepted, picked[at]))


def without_replacement(
    p: torch.Tensor, q: torch.Tensor, draws: torch.Tensor, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Recursive rejection sampling at G nodes at once; the law of the outcome is p.

    Args:
        p: Composed probabilities ``[G, V]``.
        q: What the draws were drawn from, without replacement ``[G, V]``.
        draws: The drawn tokens in the order of drawing ``[G, K]``; -1 where there are fewer.
        uniforms: A number in (0, 1) for each test ``[G, K]``.

    Returns:
        The accepted token, or -1 ``[G]``, and what the token is drawn from where none was accepted ``[G, V]``.
    """
    accepted = torch.full_like(draws[:, 0], -1)
    for place in range(draws.shape[1]):
        token = draws[:, place]
        at = token.clamp(min=0)[:, None]
        here, there = p.gather(1, at)[:, 0], q.gather(1, at)[:, 0]
        drawn = (token >= 0) & (there > 0)
        accepted = torch.where((accepted < 0) & drawn & (uniforms[:, place] * there < here), token, accepted)
        rest = (p - q).clamp(min=0)
        total = rest.sum(dim=1, keepdim=True)
        # nothing is left where p equals q, and there no test fails but by rounding
        p = torch.where(drawn[:, None] & (total > 0), rest / total, p)
        q = q.scatter(1, at, torch.where(drawn, torch.zeros_like(there), there)[:, None])
        q = q / q.sum(dim=1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)
    return accepted, p


def published(
    p: torch.Tensor, moved: torch.Tensor, q: torch.Tensor, draws: torch.Tensor, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """RAPID's published test of one draw a node (arXiv 2502.20330, algorithm 1); its law is neither p nor ``moved``.

    A draw is accepted with probability ``min(1, moved / q)``; else ``max(p - moved, p - q, 0)``, normalised, decides.

    Args:
        p: Probabilities of the target ``[G, V]``.
        moved: The target's, moved towards the drafter's ``[G, V]``.
        q: What the draws were drawn from ``[G, V]``.
        draws: The drawn token ``[G, 1]``.
        uniforms: A number in (0, 1) for each test ``[G, K]``, the first of which counts.

    Returns:
        As `without_replacement`.
    """
    token = draws[:, 0]
    here, there = moved.gather(1, draws)[:, 0], q.gather(1, draws)[:, 0]
    accepted = torch.where(uniforms[:, 0] * there < here, token, torch.full_like(token, -1))
    rest = torch.maximum(p - moved, p - q).clamp(min=0)
    total = rest.sum(dim=1, keepdim=True)
    return accepted, torch.where(total > 0, rest / total, p)
