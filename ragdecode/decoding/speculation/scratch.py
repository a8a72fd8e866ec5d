"""What the looks of one step have left in a row's free slots: a later look feeds only the nodes that are new.

A tree that grows level by level would else be run again with every level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.drafter import Draft, Look
from ragdecode.decoding.row import Row
from ragdecode.decoding.segments import with_tree
from ragdecode.decoding.tree import Tree


@dataclass
class Scratch:
    """Drafted nodes whose keys and values lie in a row behind its last accepted token.

    Attributes:
        length: Length of the row when they were fed (L); its last token, the root, lies in slot L - 1.
        kind: How they were run and after what: sub-layers left out, light weights, an answer of the row's own.
        parents: Parent of each node, -1 for the root; node i lies in slot L + i.
        places: Node of each path of tokens; -1 is the root.
        tables: Predictions ``[*, V]`` by pass: stacked, those of the root, then of the nodes in order.
    """

    length: int
    kind: tuple[object, ...]
    parents: list[int] = field(default_factory=list)
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    tables: list[torch.Tensor] = field(default_factory=list)

    def read(self, look: Look) -> torch.Tensor:
        """The predictions ``[1 + n, V]`` after the root and the n nodes of a draft that has been fed, if wanted."""
        rows = [1 + self.places[path] for path in wanted_paths(look)]
        stacked = self.tables[0] if len(self.tables) == 1 else torch.cat(self.tables)
        if rows == list(range(len(stacked))):
            return stacked
        return stacked[torch.tensor(rows, device=stacked.device)]


def fresh(row: Row, tokens: list[int], root: int, look: Look) -> tuple[Segment, Scratch]:
    """The segment of a look that finds nothing to build on, and the scratch that it will leave."""
    draft = look.draft
    scratch = Scratch(row.length(tokens), _kind(row, look), list(draft.parents), {(): -1})
    for index, path in enumerate(paths(draft)):
        scratch.places.setdefault(path, index)
    return with_tree(row, tokens, as_tree(root, draft)), scratch


def more(row: Row, scratch: Scratch, look: Look, tokens: list[int]) -> Segment | None:
    """The segment of a look's new nodes, noted in the scratch; one without tokens if there are none.

    Returns:
        None where the scratch is of no use: other weights, another answer, no room for what is new.
    """
    if scratch.kind != _kind(row, look) or scratch.length != row.length(tokens):
        return None
    base = scratch.length + len(scratch.parents)
    earlier = list(scratch.parents)
    new = [(path, token) for path, token in zip(paths(look.draft), look.draft.tokens, strict=True)]
    new = [(path, token) for path, token in dict(new).items() if path not in scratch.places]
    if base + len(new) > row.capacity:
        return None
    for path, _ in new:
        scratch.places[path] = len(scratch.parents)
        scratch.parents.append(scratch.places[path[:-1]])
    return Segment(
        row=row.handle,
        base=base,
        tokens=[token for _, token in new],
        depths=[len(path) - 1 for path, _ in new],
        parents=scratch.parents[len(earlier) :],
        outputs=range(len(new)),
        seen=scratch.length,
        earlier=earlier,
        mask=row.mask,
    )


def _kind(row: Row, look: Look) -> tuple[object, ...]:
    return look.skip, look.light, None if row.own is None else tuple(row.own)


def paths(draft: Draft) -> list[tuple[int, ...]]:
    """The tokens from the root down to each node of a draft."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


def wanted_paths(look: Look) -> list[tuple[int, ...]]:
    """The tokens from the root down to each place whose predictions a look wants."""
    found = [(), *paths(look.draft)]
    return found if look.wanted is None else [found[row] for row in look.wanted]


def as_tree(root: int, draft: Draft) -> Tree:
    """A draft below a token, as a tree."""
    depths = [0]
    for parent in draft.parents:
        depths.append(depths[parent + 1] + 1)
    sources: Sequence[tuple[str, ...]] = [()] * (1 + len(draft.tokens))
    return Tree([root, *draft.tokens], [-1, *(parent + 1 for parent in draft.parents)], depths, sources)
