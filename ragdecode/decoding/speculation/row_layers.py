"""The sub-layers of a row's model one by one, for drafters that choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ragdecode.decoding.backend import LayeredBackend

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.active import Active
    from ragdecode.decoding.row import Row


class RowLayers:
    """`ragdecode.decoding.drafter.Layers` at the last accepted token of a row.

    Keys and values go to slots beyond the cached tokens, where the next pass writes anyway.

    Args:
        item: The request.
        row: One of its rows, read up to its last token.

    Raises:
        ValueError: The row's model cannot run single sub-layers, or the row is not read yet (a drafter's mistake).
    """

    def __init__(self, item: Active, row: Row) -> None:
        if not row.backend.layers:
            raise ValueError(f"a drafter wants single layers of view {row.view!r}, whose backend cannot run them")
        if row.cached != row.length(item.tokens) - 1:
            raise ValueError(f"a drafter wants single layers of view {row.view!r}, which is not read yet")
        self.parts = 2 * row.backend.layers
        self._row = row
        self._room = row.capacity - row.cached
        self._backend = cast("LayeredBackend", row.backend)
        self.first: torch.Tensor = self._backend.embed([row.token(row.cached, item.tokens)])
        item.stats.forward_passes += 1  # all sub-layers once, over a few states: about one pass
        item.stats.forward_rows += 1

    def run(self, part: int, states: torch.Tensor) -> torch.Tensor:
        """Run a sub-layer over alternative states of the last accepted token, ``[m, H]`` to ``[m, H]``."""
        if len(states) > self._room:
            raise ValueError(f"{len(states)} states, but room for {self._room}: `look_nodes` is too low")
        return self._backend.run_part(part, self._row.handle, self._row.cached, states)
