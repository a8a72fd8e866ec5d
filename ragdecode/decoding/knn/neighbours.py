"""The nearest entries of a store, and what a store must be able to do.

Shapes: Q queries, k neighbours, W numbers of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbours:
    """The nearest entries of queries, nearest first; equally far ones in order of their rows.

    Attributes:
        rows: Entries ``[Q, k]``; -1 where there are fewer.
        distances: Squared distances ``[Q, k]``; infinite there.
        values: The tokens that they vote for ``[Q, k]``; -1 there.
    """

    rows: torch.Tensor
    distances: torch.Tensor
    values: torch.Tensor

    @staticmethod
    def none(queries: torch.Tensor, k: int) -> Neighbours:
        """No neighbours of queries ``[Q, W]``."""
        rows = torch.full((len(queries), k), -1, dtype=torch.long, device=queries.device)
        distances = torch.full(rows.shape, torch.inf, dtype=precise(queries), device=rows.device)
        return Neighbours(rows, distances, rows.clone())

    def put(self, places: Sequence[int], other: Neighbours) -> None:
        """Take over the neighbours of other queries as those of ``places``."""
        self.rows[places] = other.rows
        self.distances[places] = other.distances.to(self.distances.dtype)
        self.values[places] = other.values


class Store(Protocol):
    """Keys with the tokens that follow them; it never changes."""

    def __len__(self) -> int: ...

    def search(self, queries: torch.Tensor, k: int) -> Neighbours:
        """The nearest k entries of queries ``[Q, W]``, fewer if there are fewer; each as if it were asked alone."""
        ...

    def places(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Where entries stand, as plain data."""
        ...

    def apart(self, queries: int, k: int) -> NDArray[np.floating]:
        """Squared distances of so many of its own keys, evenly spread, to the nearest k others ``[Q, k]``."""
        ...


class Memory(Protocol):
    """The memory of a corpus, on disk: what `Request.resources` holds under ``memory``.

    Attributes:
        facts: What its keys were made with: ``model``, ``tokenizer``, ``dtype`` and ``key``.
    """

    facts: dict[str, Any]

    def __len__(self) -> int: ...

    def search(self, queries: NDArray[np.floating], k: int, leave_out: Sequence[range] | None = None) -> Any:
        """Rows, distances and values of the nearest k entries ``[Q, k]``."""
        ...

    def distances(self, queries: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """Squared distances of queries ``[Q, W]`` to entries ``[Q, n]``."""
        ...

    def following(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entry behind each entry in its document, -1 at its end."""
        ...

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The token that follows each entry; -1 for -1."""
        ...

    def own_keys(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Keys of entries ``[n, W]``."""
        ...

    def places(self, rows: Sequence[int]) -> Sequence[Any]:
        """Where entries stand: ``source``, ``record``, ``document`` and ``token``."""
        ...

    def around(self, row: int, before: int, behind: int) -> tuple[list[int], list[int]]:
        """Tokens that an entry's key has read last, and those from its value on."""
        ...

    def of_sources(self, sources: Sequence[str]) -> list[range]:
        """Entries of the documents of these files."""
        ...


def precise(queries: torch.Tensor) -> torch.dtype:
    """The precision in which distances of queries are computed."""
    return torch.float64 if queries.dtype is torch.float64 else torch.float32
