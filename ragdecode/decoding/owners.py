"""Whose nodes are whose: the way that leads to each node of a group of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.rule import Past
from ragdecode.decoding.tree import Tree

if TYPE_CHECKING:
    from ragdecode.decoding.compose import Predicted


def ancestry(tree: Tree, node: int) -> list[int]:
    """The nodes from the root down to a node, both included."""
    nodes = [node]
    while nodes[-1]:
        nodes.append(tree.parents[nodes[-1]])
    return nodes[::-1]


class Owners:
    """The nodes of a group of requests, numbered through.

    Args:
        group: The requests, with their trees.
    """

    def __init__(self, group: Sequence[Predicted]) -> None:
        self._owner: list[tuple[Predicted, int, int]] = []  # request, its first node, node of its tree
        for item in group:
            first = len(self._owner)
            self._owner += [(item, first, node) for node in range(item.tree.size)]

    def lengths(self) -> list[int]:
        """How many tokens were generated up to and including each node [N]."""
        return [len(item.active.tokens) + item.tree.depths[node] for item, _, node in self._owner]

    def path(self, node: int, last: int | None = None, /) -> list[int]:
        """Tokens generated up to and including a node, or the last few of them."""
        item, _, local = self._owner[node]
        return path_of(item.active.tokens, item.tree.path(local), last)

    def tokens(self) -> list[int]:
        """The last token that was read at each node [N]."""
        return [item.tree.tokens[node] for item, _, node in self._owner]

    def parents(self) -> list[int]:
        """The node above each node, -1 for roots [N]."""
        return [first + item.tree.parents[node] if node else -1 for item, first, node in self._owner]

    def accepted(self, index: int) -> Past:
        """What a rule remembered of the accepted tokens before the root of a node's tree ``[t, X]``."""

        def past(node: int, last: int | None = None, /) -> torch.Tensor:
            return self._owner[node][0].active.ruling.memories[index].last(last)

        return past

    def past(self, index: int, remembered: torch.Tensor) -> Past:
        """What a rule remembers on the way to a node, of ``remembered [N, X]`` and of what was accepted before."""

        def past(node: int, last: int | None = None, /) -> torch.Tensor:
            item, first, local = self._owner[node]
            own = [first + one for one in ancestry(item.tree, local)]
            own = own if last is None else own[-last:]
            before = item.active.ruling.memories[index].last(None if last is None else last - len(own))
            table = remembered[own]
            return torch.cat([before, table]) if len(before) else table

        return past


def path_of(accepted: list[int], drafted: list[int], last: int | None = None) -> list[int]:
    """The tokens of an answer and of a draft below it, or the last few of them."""
    if last is None:
        return [*accepted, *drafted]
    start = max(len(accepted) + len(drafted) - last, 0)
    return [*accepted[start:], *drafted[max(start - len(accepted), 0) :]]
