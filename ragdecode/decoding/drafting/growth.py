"""Growing a draft tree best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TypeVar

from ragdecode.decoding.drafter import Draft

State = TypeVar("State")


def grow(
    root: State,
    children: Callable[[State], Iterable[tuple[int, float, int, State]]],
    nodes: int,
    *,
    least: float = 0.0,
) -> Draft:
    """The tree of at most ``nodes`` tokens with the largest expected number of accepted ones.

    Paths are nested and siblings exclude each other, so the expectation is the sum over the nodes of the product of
    the rates down to each; these products fall with depth, and the best nodes by product form a tree (Sequoia,
    arXiv 2402.12374; OPT-Tree, arXiv 2406.17276). Equal products: the one that was found first.

    Args:
        root: What is known after the last accepted token.
        children: After a state: tokens that differ, with the probability that each is accepted where its parent is,
            the class that this was estimated by, and the state after it.
        nodes: Room.
        least: Paths below this probability are left out.
    """
    tokens: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    classes: list[int] = []
    heap: list[tuple[float, int, int, int, int, State]] = []
    found = 0
    parent, score, state = -1, 1.0, root
    while len(tokens) < nodes:
        for token, rate, kind, after in children(state):
            heappush(heap, (-score * rate, found, parent, token, kind, after))
            found += 1
        if not heap or -heap[0][0] < least:
            break
        negative, _, above, token, kind, state = heappop(heap)
        parent, score = len(tokens), -negative
        tokens.append(token)
        parents.append(above)
        scores.append(score)
        classes.append(kind)
    return Draft(tokens, parents, scores, classes=classes)
