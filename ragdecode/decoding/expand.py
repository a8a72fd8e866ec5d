"""Looking one token further: the states of candidate children, for rules that ask for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ragdecode.decoding.backend import Backend, Segment
from ragdecode.decoding.compose import Predicted
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.segments import with_tree
from ragdecode.decoding.tree import Tree


def expand(group: Sequence[Predicted], candidates: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Run candidate children ``[N, K]`` of all nodes of each request under its target, in one pass a model.

    Returns:
        Their hidden states ``[N, K, H]``, by request.
    """
    found: list[torch.Tensor | None] = [None] * len(group)
    backends: dict[int, Backend] = {}
    members: dict[int, list[int]] = {}
    for index, item in enumerate(group):
        backend = item.active.rows[TARGET].backend
        backends[id(backend)] = backend
        members.setdefault(id(backend), []).append(index)
    for key, indices in members.items():
        segments = [_segment(group[index], candidates[index]) for index in indices]
        output = backends[key].forward(segments, hidden=True)
        assert output.hidden is not None
        parts = output.hidden.split([len(segment.outputs) for segment in segments])
        for index, part in zip(indices, parts, strict=True):
            found[index] = part.view(*candidates[index].shape, -1)
    return [part for part in found if part is not None]


def _segment(item: Predicted, candidates: torch.Tensor) -> Segment:
    """The tree once more, with the candidates below its nodes; the same slots receive the same entries."""
    active, tree = item.active, item.tree
    row = active.rows[TARGET]
    count, width = candidates.shape
    below = [node for node in range(count) for _ in range(width)]
    wider = Tree(
        [*tree.tokens, *candidates.flatten().tolist()],
        [*tree.parents, *below],
        [*tree.depths, *(tree.depths[node] + 1 for node in below)],
        [*tree.sources, *((),) * len(below)],
    )
    row.clamp(active.tokens)
    segment = with_tree(row, active.tokens, wider)
    active.stats.forward_passes += 1
    active.stats.forward_rows += 1
    return Segment(
        segment.row, segment.base, segment.tokens, segment.depths, segment.parents, [*segment.outputs][count:]
    )
