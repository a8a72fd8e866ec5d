"""Best-first search over a trie of spans: a prefix's score bounds that of all that begins with it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from ragdecode.decoding.extraction.spans import Node


@dataclass(frozen=True)
class Span:
    """A span that was found.

    Attributes:
        node: Where it ends in the trie.
        log_prob: Logarithm of its probability, its end included (nats).
        score: What spans are compared by.
        tokens: Log-probability of each of its tokens.
    """

    node: Node
    log_prob: float
    score: float
    tokens: tuple[float, ...]


class BestFirst:
    """Finds the best spans, given what follows the prefixes that it asks about.

    Log-probabilities are never positive, so no span scores more than a prefix of it: when a finished span is the best
    of all that is known, none can be better. By length, a prefix is bounded by its score over the length of the longest
    span that begins with it.

    Args:
        trie: The spans.
        top: How many of the best are wanted.
        by_length: Compare by the mean over the tokens and the end, instead of by the sum.

    Attributes:
        found: The best spans, in order, as far as they are known.
        expanded: Prefixes that were asked about.
    """

    def __init__(self, trie: Node, *, top: int = 1, by_length: bool = False) -> None:
        self.found: list[Span] = []
        self.expanded = 0
        self._top = top
        self._by_length = by_length
        self._count = 0
        #: (minus the bound, order of arrival, node, log-probabilities down to it, whether its end is included)
        self._heap: list[tuple[float, int, Node, tuple[float, ...], bool]] = []
        if trie.children:
            self._push(trie, (), finished=False)

    def wanted(self, width: int) -> list[tuple[Node, tuple[float, ...]]]:
        """The prefixes, at most ``width``, whose continuations decide what comes next; none at the end."""
        asked: list[tuple[float, int, Node, tuple[float, ...], bool]] = []
        aside: list[tuple[float, int, Node, tuple[float, ...], bool]] = []
        while self._heap and len(asked) < width and len(self.found) + len(aside) < self._top:
            item = heappop(self._heap)
            if not item[-1]:
                asked.append(item)
            elif asked:
                aside.append(item)  # something that is not known yet may still be better
            else:
                self._finish(item)
        for item in aside:
            heappush(self._heap, item)
        self.expanded += len(asked)
        return [(node, path) for _, _, node, path, _ in asked]

    def learn(self, node: Node, path: tuple[float, ...], follows: Mapping[int, float], end: float) -> None:
        """Take in what follows a prefix: the log-probability of each child, and of the end there."""
        for token, child in node.children.items():
            self._push(child, (*path, follows[token]), finished=False)
        if node.places:
            self._push(node, (*path, end), finished=True)

    def settle(self) -> None:
        """Give up the search: the best finished spans that are known are taken as they are."""
        while self._heap and len(self.found) < self._top:
            item = heappop(self._heap)
            if item[-1]:
                self._finish(item)

    def _finish(self, item: tuple[float, int, Node, tuple[float, ...], bool]) -> None:
        bound, _, node, path, _ = item
        self.found.append(Span(node, math.fsum(path), -bound, path[:-1]))

    def _push(self, node: Node, path: tuple[float, ...], *, finished: bool) -> None:
        score = math.fsum(path)
        if math.isnan(score) or score == -math.inf:
            return
        if self._by_length:
            score /= len(path) if finished else node.longest + 1
        if finished or node.children or node.places:
            self._count += 1
            heappush(self._heap, (-score, self._count, node, path, finished))


def log_sum(values: Collection[float]) -> float:
    """Logarithm of the sum of what the values are logarithms of."""
    most = max(values, default=-math.inf)
    return most if most == -math.inf else most + math.log(math.fsum(math.exp(value - most) for value in values))
