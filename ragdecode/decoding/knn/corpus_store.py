"""The memory of a corpus as rules ask it: one search for all queries, and the way from entry to entry.

Shapes: Q queries, k neighbours, W numbers of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ragdecode.decoding.knn.neighbours import Memory, Neighbours, precise

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: tokens before an entry and behind it that are told of its place
_BEFORE, _BEHIND = 12, 6


class CorpusStore:
    """A memory on disk, without the entries that must not vote.

    Args:
        memory: The memory.
        left_out: Files of the corpus whose entries do not vote: those that hold what is being evaluated.
    """

    def __init__(self, memory: Memory, left_out: Sequence[str] = ()) -> None:
        self.memory = memory
        self._left_out = memory.of_sources(left_out) if left_out else []
        self._missing = sum(len(one) for one in self._left_out)

    def __len__(self) -> int:
        return len(self.memory) - self._missing

    def search(self, queries: torch.Tensor, k: int) -> Neighbours:
        """The nearest k entries of queries ``[Q, W]``, fewer if there are fewer."""
        asked = _on_host(queries)
        found = self.memory.search(asked, min(k + self._missing, len(self.memory)))
        rows, distances = found.rows, found.distances
        if self._missing:
            distances = np.where(self._out(rows), np.inf, distances)
            order = np.argsort(distances, axis=1, kind="stable")[:, :k]
            distances = np.take_along_axis(distances, order, axis=1)
            rows = np.where(np.isinf(distances), -1, np.take_along_axis(rows, order, axis=1))
        return self._told(queries, rows, distances)

    def follow(self, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Pointers ``[Q, k]``: of entries ``rows [Q, k]``, those that voted for ``tokens [Q]`` lead to the next ones.

        The others lead nowhere (-1), as do those at the end of a document.
        """
        known = rows.cpu().numpy()
        right = self.memory.values(known) == tokens.cpu().numpy()[:, None]
        behind = self.memory.following(np.where(right, known, -1))
        return torch.from_numpy(np.where(self._out(behind), -1, behind)).to(rows.device)

    def measure(self, queries: torch.Tensor, rows: torch.Tensor) -> Neighbours:
        """Given entries ``[Q, k]`` as neighbours of queries ``[Q, W]``, nearest first."""
        known = rows.cpu().numpy()
        distances = np.where(known < 0, np.inf, self.memory.distances(_on_host(queries), known))
        order = np.lexsort((known, distances), axis=1)
        return self._told(queries, np.take_along_axis(known, order, 1), np.take_along_axis(distances, order, 1))

    def _told(self, queries: torch.Tensor, rows: NDArray[np.int64], distances: NDArray[np.floating]) -> Neighbours:
        values = self.memory.values(rows)
        device = queries.device
        far = torch.from_numpy(np.ascontiguousarray(distances)).to(device, precise(queries))
        return Neighbours(torch.from_numpy(rows).to(device), far, torch.from_numpy(values).to(device))

    def _out(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which entries must not vote."""
        found = np.zeros(rows.shape, bool)
        for one in self._left_out:
            found |= (rows >= one.start) & (rows < one.stop)
        return found

    def apart(self, queries: int, k: int) -> NDArray[np.floating]:
        """Squared distances of so many of its own keys, evenly spread, to the nearest k others ``[Q, k]``."""
        total = len(self.memory)
        count = min(queries, total)
        own = np.arange(count) * total // count
        found = self.memory.search(
            self.memory.own_keys(own), min(k, max(1, total - 1)), [range(int(row), int(row) + 1) for row in own]
        )
        distances: NDArray[np.floating] = found.distances
        return distances

    def places(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Where entries stand: the file, the place of the token that follows, and the tokens around it."""
        found = []
        for row, place in zip(rows, self.memory.places(rows), strict=True):
            before, behind = self.memory.around(row, _BEFORE, _BEHIND)
            found.append(
                {
                    "source": place.source,
                    "record": place.record,
                    "document": place.document,
                    "token": place.token,
                    "before": before,
                    "behind": behind,
                }
            )
        return found


def _on_host(queries: torch.Tensor) -> NDArray[np.floating]:
    told: NDArray[np.floating] = queries.to(precise(queries)).cpu().numpy()
    return told
