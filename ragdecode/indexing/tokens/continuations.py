"""What follows: continuations counted into a weighted trie, and its most frequent nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Continuations:
    """The most frequent continuations of a run of tokens, as a trie; parents before children.

    Attributes:
        tokens: Ids [n].
        parents: For each, the index of its parent in this list, or -1 [n].
        counts: How many of the places looked at go on in this way [n]; not above the parent's.
        matched: Length of the run that was found.
        places: How many places were looked at.
        found: How many there are.
    """

    tokens: list[int]
    parents: list[int]
    counts: list[int]
    matched: int
    places: int
    found: int


def most_frequent(
    places: Sequence[tuple[NDArray[Any], NDArray[np.int64]]], length: int, separator: int, nodes: int
) -> tuple[list[int], list[int], list[int]]:
    """The prefixes of continuations that occur most often; ties go to the shorter, then to the smaller one.

    A prefix occurs at least as often as what it begins, so the best are a tree. Tokens are read depth by depth, and
    only below prefixes that may still be among the best.

    Args:
        places: For each shard its ids and the positions [m] of the first tokens behind the matches, in the order of
            what follows there; a separator may follow at once.
        length: Longest prefix.
        separator: Ends a continuation; above all ids.
        nodes: How many prefixes are wanted.

    Returns:
        Tokens, parents (-1 for the root) and counts of the prefixes, the shorter first.
    """
    of = np.repeat(np.arange(len(places)), [len(starts) for _, starts in places])
    at = np.concatenate([starts for _, starts in places])
    group = np.full(len(at), -1, np.int64)  # the node that each place has come to
    token = parent = count = np.empty(0, np.int64)
    for _ in range(length):
        key = (group + 1) << 32 | _read(places, of, at)
        if len(places) > 1:  # within one shard, places are in order
            turn = np.argsort(key, kind="stable")
            key, of, at = key[turn], of[turn], at[turn]
        heads = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        sizes = np.diff(np.append(heads, len(key)))
        read = key[heads] & 0xFFFFFFFF
        real = read != separator
        numbers = len(token) + np.cumsum(real) - 1
        token = np.append(token, read[real])
        parent = np.append(parent, (key[heads[real]] >> 32) - 1)
        count = np.append(count, sizes[real])
        # what is longer loses ties, so below a prefix that is no better than the last one wanted nothing can be
        least = np.partition(count, len(count) - nodes)[len(count) - nodes] if len(count) >= nodes else 0
        go_on = np.repeat(real & (sizes > least), sizes)
        if not go_on.any():
            break
        group, of, at = np.repeat(numbers, sizes)[go_on], of[go_on], at[go_on] + 1
    best = np.sort(np.argsort(-count, kind="stable")[:nodes])
    place = np.full(len(token) + 1, -1)  # the last one for the root
    place[best] = np.arange(len(best))
    return token[best].tolist(), place[parent[best]].tolist(), count[best].tolist()


def _read(
    places: Sequence[tuple[NDArray[Any], NDArray[np.int64]]], of: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The tokens at positions of shards."""
    if len(places) == 1:
        return places[0][0][at].astype(np.int64)
    tokens = np.empty(len(at), np.int64)
    for number, (ids, _) in enumerate(places):
        own = of == number
        tokens[own] = ids[at[own]]
    return tokens
