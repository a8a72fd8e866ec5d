"""Verification: which way through the draft tree the composed distribution takes."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.decoding.tree import Tree


def walk(tree: Tree, predictions: Sequence[int]) -> tuple[list[int], list[int]]:
    """Follow the predicted tokens down the tree.

    ``predictions[n]`` is the token that the composed distribution picks after node n: its argmax, or its argmax
    under the noise of that position. Both are the token that decoding without drafts would pick there, so that the
    committed tokens are the same whatever the tree (sheet rules 1.4 and 1.5-E; arXiv 2504.15475 for the noise).

    Args:
        tree: The verified tree, N nodes.
        predictions: One token a node [N]; -1 where nothing is allowed.

    Returns:
        The nodes on the accepted path, node 0 first, and the token picked after each of them; the last is the
        bonus token.
    """
    path, committed = [0], [predictions[0]]
    while (node := tree.children[path[-1]].get(committed[-1])) is not None:
        path.append(node)
        committed.append(predictions[node])
    return path, committed
