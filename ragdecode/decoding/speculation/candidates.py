"""A tree that grows: nodes found so far with the estimated acceptance of the path down to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ragdecode.decoding.drafter import Draft

#: The last accepted token, under which all else stands.
ROOT = 0

#: Ranks among siblings that are told apart in a class; all later ones are one.
_RANKS = 4


class Candidates:
    """Nodes of a growing tree; node 0 is the last accepted token, parents come before children.

    Attributes:
        tokens: Token of each node; that of node 0 is -1.
        parents: Parent of each node, -1 for node 0.
        depths: Depth of each node, 0 for node 0.
        scores: Estimated probability that the path down to each node is accepted; never above the parent's.
        classes: What acceptance may be counted by, see `class_of`.
        sources: Who proposed each node; empty for those that the expansion found.
    """

    def __init__(self) -> None:
        self.tokens = [-1]
        self.parents = [-1]
        self.depths = [0]
        self.scores = [1.0]
        self.classes = [0]
        self.sources = [""]
        self._children: dict[tuple[int, int], int] = {}

    def add(self, parent: int, token: int, score: float, kind: int, source: str = "") -> int:
        """A child of ``parent``; one that is there already keeps the better score. Returns its number."""
        score = min(score, self.scores[parent])
        node = self._children.get((parent, token))
        if node is not None:
            self.scores[node] = max(self.scores[node], score)
            return node
        node = self._children[parent, token] = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        self.scores.append(score)
        self.classes.append(kind)
        self.sources.append(source)
        return node

    def take_in(self, draft: Draft) -> list[int]:
        """Add all nodes of a draft; the number of each here. The scores are bounded by their parents'."""
        numbers: list[int] = []
        for index, (token, parent, score) in enumerate(zip(draft.tokens, draft.parents, draft.scores, strict=True)):
            above = ROOT if parent < 0 else numbers[parent]
            kind = draft.classes[index] if draft.classes else 0
            numbers.append(self.add(above, token, score, kind, draft.sources[index] if draft.sources else ""))
        return numbers

    def best(self, nodes: int) -> list[int]:
        """The ``nodes`` best nodes by score, node 0 left out; with node 0 they always form a tree, parents first.

        OPT-Tree (arXiv 2406.17276): with path products for scores, which never grow with depth, no other subtree of
        this size has a larger expected accepted length, which is the sum of its scores.
        """
        # a parent has no lower score and a smaller number than its children, so that ties go its way
        order = sorted(range(1, len(self.tokens)), key=lambda node: (-self.scores[node], node))
        return sorted(order[:nodes])

    def path(self, node: int) -> tuple[int, ...]:
        """Tokens from the root's child down to a node."""
        tokens: list[int] = []
        while node:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tuple(reversed(tokens))

    def with_ancestors(self, nodes: Iterable[int]) -> list[int]:
        """The nodes and all above them, node 0 left out, parents first."""
        seen: set[int] = set()
        for start in nodes:
            node = start
            while node and node not in seen:
                seen.add(node)
                node = self.parents[node]
        return sorted(seen)

    def draft(self, nodes: Sequence[int], source: str = "") -> Draft:
        """A rooted subtree as a draft, in the given order (parents first).

        Sources are told if any node brought one of its own; the other nodes' is ``source``.
        """
        place = {ROOT: -1, **{node: index for index, node in enumerate(nodes)}}
        sources = [self.sources[node] or source for node in nodes]
        return Draft(
            [self.tokens[node] for node in nodes],
            [place[self.parents[node]] for node in nodes],
            [self.scores[node] for node in nodes],
            sources=sources if any(sources) else (),
            classes=[self.classes[node] for node in nodes],
        )


def class_of(rank: int, confidence: float) -> int:
    """Class of a child for counting acceptance: its rank among its siblings (0 to 3) and ten bins of confidence."""
    return min(rank, _RANKS - 1) * 10 + min(int(confidence * 10), 9)
