"""Putting paths together to a draft."""

from __future__ import annotations

from ragdecode.decoding.drafter import Draft


class Trie:
    """Paths from the root, equal beginnings shared; a node that is found twice keeps the better estimate."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._scores: list[float] = []
        self._classes: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, parent: int, token: int, score: float, kind: int) -> int:
        """The node of a token below a node (-1 for the root), made if it is new.

        The score, of the whole path, must not be above the one that the parent was added with.
        """
        node = self._children.get((parent, token))
        if node is None:
            node = self._children[parent, token] = len(self._tokens)
            self._tokens.append(token)
            self._parents.append(parent)
            self._scores.append(score)
            self._classes.append(kind)
        elif score > self._scores[node]:
            self._scores[node], self._classes[node] = score, kind
        return node

    def best(self, nodes: int) -> Trie:
        """The best nodes by score, which form a tree; of equal ones those that came first."""
        order = sorted(range(len(self._tokens)), key=lambda node: (-self._scores[node], node))[: max(nodes, 0)]
        kept = Trie()
        place = {-1: -1}
        for node in sorted(order):
            above = place[self._parents[node]]
            place[node] = kept.add(above, self._tokens[node], self._scores[node], self._classes[node])
        return kept

    def draft(self, *, whole: bool = False) -> Draft:
        """All nodes as a draft."""
        return Draft(self._tokens, self._parents, self._scores, classes=self._classes, whole=whole)
