"""Attention masks for new tokens that form a chain with a tree below it."""

from __future__ import annotations

import torch

from ragdecode.decoding.backend import Segment


def additive_mask(segment: Segment, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask ``[L, S + L]`` of a segment: 0 where a new token may look, -inf elsewhere."""
    length, before = len(segment.tokens), len(segment.earlier)
    allowed = torch.ones(before + length, before + length, dtype=torch.bool).tril()
    if segment.parents is not None:
        for node, parent in enumerate([*segment.earlier, *segment.parents]):
            if parent < 0:
                allowed[node, :node] = False
            elif parent != node - 1:  # leaves the chain: sees what its parent sees, and itself
                allowed[node] = allowed[parent]
                allowed[node, node] = True
            elif node and not allowed[parent, :node].all():
                allowed[node, :node] = allowed[parent, :node]
    mask = torch.zeros(length, segment.base + length, dtype=dtype)
    mask[:, segment.start : segment.base] = float("-inf")
    seen = allowed[before:]
    mask[:, segment.base - before :].masked_fill_(seen, 0.0).masked_fill_(~seen, float("-inf"))
    return mask.to(device)
