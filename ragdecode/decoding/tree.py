"""The draft tree that one step verifies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Source of tokens that no drafter proposed.
MODEL = "model"


@dataclass(frozen=True)
class Tree:
    """A tree of N nodes, parents before children; node 0 is the last accepted token.

    Attributes:
        tokens: Token of each node [N]; that of node 0 is never looked at by verification.
        parents: Parent of each node, -1 for node 0 [N].
        depths: Depth of each node, 0 for node 0 [N].
        sources: The drafters that proposed each node [N].
        drawn: By node, the log-probabilities ``[V]`` that its children were drawn from, without replacement and in
            the order of their nodes; empty unless draws are verified by rejection.
        children: Of each node, its children by token, in the order of their nodes [N].
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    depths: Sequence[int]
    sources: Sequence[tuple[str, ...]]
    drawn: Mapping[int, torch.Tensor] = field(default_factory=dict, repr=False)
    children: Sequence[dict[int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        children: list[dict[int, int]] = [{} for _ in self.tokens]
        for node in range(1, len(self.tokens)):
            children[self.parents[node]][self.tokens[node]] = node
        object.__setattr__(self, "children", children)

    @property
    def size(self) -> int:
        """Number of nodes, node 0 included (N)."""
        return len(self.tokens)

    def path(self, node: int) -> list[int]:
        """Drafted tokens from the root's child down to ``node``; empty for node 0."""
        tokens = []
        while node:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tokens[::-1]

    @staticmethod
    def root(token: int) -> Tree:
        """A tree without drafts."""
        return Tree([token], [-1], [0], [(MODEL,)])
