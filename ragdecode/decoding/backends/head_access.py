"""Single attention heads: switched off row by row, or watched."""

from __future__ import annotations

import torch

from ragdecode.decoding.intervention import HeadMask


class HeadsOff:
    """Switches heads off for the new tokens of a row from some place on.

    Args:
        mask: Which heads, and how.
        first: First of the new tokens for which they are off.
    """

    def __init__(self, mask: HeadMask, first: int) -> None:
        self._first = first
        self._uniform = mask.how == "uniform"
        self._heads: dict[int, list[int]] = {}
        for layer, head in sorted(mask.heads):
            self._heads.setdefault(layer, []).append(head)

    def without_queries(self, query: torch.Tensor, layer: int) -> torch.Tensor:
        """Queries ``[n, Q, D]``; those of heads that are to see all alike are 0."""
        heads = self._heads.get(layer)
        if not self._uniform or not heads:
            return query
        query = query.clone()
        query[self._first :, heads] = 0.0
        return query

    def without_outputs(self, seen: torch.Tensor, layer: int, wanted: torch.Tensor | None) -> torch.Tensor:
        """Outputs ``[n, Q, D]``, or ``[m, Q, D]`` of the wanted tokens ``[m]``; those of heads that are off are 0."""
        heads = self._heads.get(layer)
        if self._uniform or not heads:
            return seen
        seen = seen.clone()
        if wanted is None:
            seen[self._first :, heads] = 0.0
        else:
            off = (wanted >= self._first).nonzero().flatten()
            seen[off[:, None], torch.tensor(heads, device=seen.device)] = 0.0
        return seen


def watch_head(query: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention weights ``[m, S]`` of one head: ``query [m, D]``, ``keys [S, D]``, additive ``mask [m, S]``."""
    scores = (query @ keys.T) * query.shape[-1] ** -0.5
    return torch.softmax(scores if mask is None else scores + mask, dim=-1)
