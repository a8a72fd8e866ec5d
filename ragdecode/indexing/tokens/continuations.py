"""What follows: continuations counted into a weighted trie, and its most frequent nodes."""

from __future__ import annotations

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


def follow(tokens: NDArray[Any], starts: NDArray[np.int64], length: int, separator: int) -> NDArray[Any]:
    """The tokens from each start on; from the first separator on there is nothing but separators.

    Args:
        tokens: Ids [M], the last one a separator.
        starts: Positions [m]; M is one that has nothing behind it.
        length: Tokens of each.
        separator: Stands behind each document.

    Returns:
        Ids ``[m, length]``.
    """
    places = np.minimum(starts[:, None] + np.arange(length), len(tokens) - 1)
    rows: NDArray[Any] = tokens[places]
    rows[np.logical_or.accumulate(rows == separator, axis=1)] = separator
    return rows


def most_frequent(rows: NDArray[Any], separator: int, nodes: int) -> tuple[list[int], list[int], list[int]]:
    """The prefixes of sorted rows that occur most often; ties go to the shorter, then to the smaller one.

    A prefix occurs at least as often as what it begins, so the best are a tree.

    Args:
        rows: Ids ``[m, length]`` in lexicographic order, at least one; separators stand behind the end of a row.
        separator: Above all ids.
        nodes: How many prefixes are wanted.

    Returns:
        Tokens, parents (-1 for the root) and counts of the prefixes, the shorter first.
    """
    many, length = rows.shape
    begins = np.ones((many, length), bool)  # whether the prefix of each length is another one than the row's before
    np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1, out=begins[1:])
    # in order of depth, and of rows within one; prefixes behind the end of a row count as ends of the one before
    depths, firsts = np.nonzero(begins.T)
    ends = np.append(firsts[1:], many)
    ends[np.append(depths[1:] != depths[:-1], True)] = many
    counts = ends - firsts
    real = rows[firsts, depths] != separator
    depths, firsts, counts = depths[real], firsts[real], counts[real]
    if len(counts) > nodes:
        least = np.partition(counts, len(counts) - nodes)[len(counts) - nodes]
        # stable: the shorter come first, and within one length the smaller
        best = np.flatnonzero(counts >= least)
        best = np.sort(best[np.argsort(-counts[best], kind="stable")][:nodes])
        depths, firsts, counts = depths[best], firsts[best], counts[best]
    return _linked(rows, depths.tolist(), firsts.tolist(), counts.tolist())


def _linked(
    rows: NDArray[Any], depths: list[int], firsts: list[int], counts: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """Finds the parent of each node: the last one of the depth above that begins no later."""
    tokens = [int(rows[first, depth]) for first, depth in zip(firsts, depths, strict=True)]
    parents: list[int] = []
    level, above, at = 0, 0, 0  # the depth, where the depth above begins, and where we are in it
    begin = 0
    for node, (depth, first) in enumerate(zip(depths, firsts, strict=True)):
        if depth != level:
            level, above, begin = depth, begin, node
            at = above
        if not depth:
            parents.append(-1)
            continue
        while at + 1 < begin and firsts[at + 1] <= first:
            at += 1
        parents.append(at)
    return tokens, parents, counts
