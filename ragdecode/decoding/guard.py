"""What constraints and bans forbid after every node of a draft tree; drafts that are forbidden are not fed at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.tree import Tree

if TYPE_CHECKING:
    from ragdecode.decoding.active import Active


@dataclass(frozen=True)
class Guarded:
    """A draft tree of which every node is allowed.

    Attributes:
        tree: The tree, N nodes.
        forbidden: Tokens that are forbidden after each node, bool ``[N, V]`` on the CPU; None if none ever are.
    """

    tree: Tree
    forbidden: torch.Tensor | None = None


def guard(active: Active, tree: Tree, vocab_size: int) -> Guarded:
    """Drop the nodes that a constraint or a ban forbids, with what is below them.

    They could never be accepted, and a constraint's state is defined for allowed tokens only. Draws stay, for a
    rejection test needs all of them: there are no constraints then, and a banned one has probability 0.
    """
    if not active.constraints and not active.bans:
        return Guarded(tree)
    kept: list[int] = []
    new: dict[int, int] = {}  # node of the tree -> its place among the kept
    states: list[Sequence[object]] = []
    masks: list[torch.Tensor] = []
    for node in range(tree.size):
        token, above = tree.tokens[node], new.get(tree.parents[node])
        if node and (above is None or (masks[above][token] and not tree.drawn)):
            continue
        state: Sequence[object] = (
            [part.advance(old, token) for part, old in zip(active.constraints, states[above], strict=True)]
            if above is not None
            else active.constraint_states[-1]
        )
        new[node] = len(kept)
        kept.append(node)
        states.append(state)
        masks.append(_mask(active, state, len(active.tokens) + tree.depths[node], vocab_size))
    if len(kept) < tree.size:
        tree = Tree(
            [tree.tokens[node] for node in kept],
            [new.get(tree.parents[node], -1) for node in kept],
            [tree.depths[node] for node in kept],
            [tree.sources[node] for node in kept],
        )
    return Guarded(tree, torch.stack(masks))


def _mask(active: Active, states: Sequence[object], position: int, vocab_size: int) -> torch.Tensor:
    """What all constraints forbid together, and the bans of an output position, bool ``[V]``."""
    forbidden = torch.zeros(vocab_size, dtype=torch.bool)
    for part, state in zip(active.constraints, states, strict=True):
        mask = part.mask(state)
        if mask is not None:
            forbidden |= mask
    if banned := active.bans.get(position):
        forbidden[[token for token in banned if token < vocab_size]] = True
    return forbidden
