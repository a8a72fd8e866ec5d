"""From rows, pending tokens and trees to the segments of one forward pass."""

from __future__ import annotations

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.row import Row
from ragdecode.decoding.tree import Tree


def chunk(row: Row, tokens: list[int], limit: int) -> Segment:
    """The next ``limit`` pending tokens of a row that is still reading its prompt; only rules want predictions."""
    pending = row.pending(tokens, limit)
    return Segment(
        row=row.handle,
        base=row.cached,
        tokens=pending,
        depths=range(len(pending)),
        parents=None,
        outputs=row.wants(row.cached, len(pending)),
        mask=row.mask,
        masked_from=row.masked_from(row.cached),
    )


def with_tree(row: Row, tokens: list[int], tree: Tree) -> Segment:
    """All pending tokens of a row, the last of which is node 0 of the tree, then the tree's other nodes."""
    pending = row.pending(tokens)
    root = len(pending) - 1
    chain = all(parent == node - 1 for node, parent in enumerate(tree.parents))
    parents = None
    if not chain:
        parents = [*range(-1, root), *(root + parent for parent in tree.parents[1:])]
    return Segment(
        row=row.handle,
        base=row.cached,
        tokens=[*pending, *tree.tokens[1:]],
        depths=[*range(root), *(root + depth for depth in tree.depths)],
        parents=parents,
        outputs=range(root, root + tree.size),
        mask=row.mask,
        masked_from=row.masked_from(row.cached),
    )
