"""What a rule remembered of the accepted tokens, in one table that grows in place."""

from __future__ import annotations

from copy import copy

import torch

#: Rows that a table begins with.
_FIRST = 16


class Memory:
    """Rows ``[t, X]``, one for the node that predicted each accepted token.

    Adding rows copies these rows alone, and reading copies nothing: a long answer costs no more a token than a short
    one, and no table of a step outlives it.

    Args:
        limit: How many of the last rows are ever read; older ones may be dropped. None keeps all.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._table: torch.Tensor | None = None
        self._kept = 0
        self._dropped = 0

    def __len__(self) -> int:
        """How many rows were added and not forgotten (t), dropped ones included."""
        return self._dropped + self._kept

    @property
    def held(self) -> int:
        """How many rows there is room for."""
        return 0 if self._table is None else len(self._table)

    def add(self, rows: torch.Tensor) -> None:
        """Add rows ``[n, X]``; they are copied."""
        if self._limit is not None and self._kept + len(rows) > max(2 * self._limit, _FIRST):
            self._drop(self._limit)
        needed = self._kept + len(rows)
        if self._table is None or needed > len(self._table):
            table = rows.new_empty(max(needed, 2 * self.held, _FIRST), rows.shape[1])
            if self._table is not None:
                table[: self._kept] = self._table[: self._kept]
            self._table = table
        self._table[self._kept : needed] = rows
        self._kept = needed

    def fork(self) -> Memory:
        """A table of its own with the same rows."""
        twin = copy(self)
        if self._table is not None:
            twin._table = self._table.clone()
        return twin

    def rewind(self, to: int) -> None:
        """Forget the rows after the first ``to``.

        Raises:
            ValueError: Rows before were dropped, because none was to be read again.
        """
        if to < self._dropped:
            raise ValueError(f"the rows before {self._dropped} were dropped: there is no going back to {to}")
        self._kept = min(self._kept, to - self._dropped)

    def last(self, count: int | None = None) -> torch.Tensor:
        """The last ``count`` rows ``[t, X]``, or all; valid until the next change. ``[0, 0]`` where there is none."""
        if self._table is None or not self._kept:
            return torch.empty(0, 0)
        start = 0 if count is None else max(self._kept - count, 0)
        return self._table[start : self._kept]

    def _drop(self, keep: int) -> None:
        """Move the last rows to the front."""
        if self._table is not None and self._kept > keep:
            self._table[:keep] = self._table[self._kept - keep : self._kept].clone()
            self._dropped += self._kept - keep
            self._kept = keep
