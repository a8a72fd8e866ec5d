"""CLaSp's choice of the layers to leave out: dynamic programming over the states of the last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ragdecode.decoding.drafter import Layers


def choose_layers(layers: Layers, units: Sequence[Sequence[int]], free: Sequence[bool], count: int) -> torch.Tensor:
    """Which units to leave out so that the state of the last token stays close to the true one.

    ``g[u, m]`` is a state after the first u units with m of them left out. It comes from ``g[u - 1, m]`` by running
    unit u, or from ``g[u - 1, m - 1]`` by leaving it out; of the two, the one is kept whose cosine with the true
    state ``h_u = g[u, 0]`` is larger. Units are followed back from ``g[U, count]``. All m of a unit run as one
    batch, so that the whole costs about one pass; the true states are row 0 of it.

    The choice is greedy: the better of two states need not lead to the better end. So is the paper's.

    Source: CLaSp (Chen et al., arXiv 2505.24196, ACL 2025).

    Args:
        layers: The model, at the last accepted token.
        units: Sub-layers that are left out together, in the order in which they run.
        free: Whether each unit may be left out [U].
        count: How many to leave out (M); at most as many as are free.

    Returns:
        The chosen units, ascending, int64 ``[M]``.
    """
    states = layers.first  # [1, H]; row m: m units left out
    skipped: list[torch.Tensor] = []  # for each unit, whether g[u, m] leaves it out, bool [rows]
    for unit, may in zip(units, free, strict=True):
        ran = states
        for part in unit:
            ran = layers.run(part, ran)
        rows = len(states)
        if not may:
            states = ran
            skipped.append(torch.zeros(rows, dtype=torch.bool, device=ran.device))
            continue
        true = ran[:1]
        by_running = torch.cosine_similarity(ran, true, dim=-1)
        by_skipping = torch.cosine_similarity(states, true, dim=-1)
        # row m compares running at m with skipping from m - 1; row 0 can only run, the new last row only skip
        skips = by_skipping[:-1] > by_running[1:]
        skips = torch.cat([skips.new_zeros(1), skips, skips.new_ones(1)])
        ran = torch.cat([ran, ran[-1:]])
        left_out = torch.cat([states[:1], states])
        states = torch.where(skips[:, None], left_out, ran)[: count + 1]
        skipped.append(skips[: count + 1])
    return _followed_back(skipped, count).to(states.device)


def _followed_back(skipped: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """The units left out on the way to the state with ``count`` of them; one read from the device."""
    width = count + 1
    padded = torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in skipped]).cpu()
    chosen: list[int] = []
    left = count
    for unit in range(len(skipped) - 1, -1, -1):
        if left and bool(padded[unit, left]):
            chosen.append(unit)
            left -= 1
    return torch.tensor(chosen[::-1], dtype=torch.long)
