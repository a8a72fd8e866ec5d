"""Counts of n-grams of several orders, which can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from itertools import islice

#: Counts and places share an integer, the count above these bits: larger means more often, then later.
_PLACE_BITS = 40
#: Most continuations of one run that are compared; of more, those that were first met last.
_WIDEST = 256


class NgramCounts:
    """How often, and where last, each token followed each run of 1 to ``longest`` tokens.

    Args:
        longest: Longest run that is counted; a token costs as many look-ups.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._tables: dict[tuple[int, ...], dict[int, int]] = {}
        self._tail: tuple[int, ...] = ()
        self._size = 0
        self._undo: list[tuple[tuple[int, ...], list[int | None]]] = []

    def extend(self, tokens: Sequence[int], *, undoable: bool = True) -> None:
        """Count tokens that follow the text so far; those of ``undoable`` calls can be taken back."""
        tables, longest, tail = self._tables, self._longest, self._tail
        for token in tokens:
            self._size += 1
            old: list[int | None] = []
            for start in range(len(tail)):
                table = tables.setdefault(tail[start:], {})
                seen = table.get(token)
                old.append(seen)
                count = 1 if seen is None else (seen >> _PLACE_BITS) + 1
                table[token] = count << _PLACE_BITS | self._size
            if undoable:
                self._undo.append((tail, old))
            tail = (*tail, token)[-longest:]
        self._tail = tail

    def rewind(self, length: int) -> None:
        """Take back all but the first ``length`` tokens, which may reach into undoable ones only."""
        while self._size > length:
            tail, old = self._undo.pop()
            token = self._tail[-1]
            for start, seen in enumerate(old):
                table = self._tables[tail[start:]]
                if seen is not None:
                    table[token] = seen
                    continue
                del table[token]
                if not table:
                    del self._tables[tail[start:]]
            self._tail, self._size = tail, self._size - 1

    @property
    def tail(self) -> tuple[int, ...]:
        """The last tokens of the text, at most ``longest``."""
        return self._tail

    def after(self, context: tuple[int, ...], most: int) -> tuple[int, int, list[tuple[int, int]]]:
        """How often a token followed a run, how many different ones did, and (token, how often) of the best.

        The most frequent come first, of equally frequent ones the latest.
        """
        table = self._tables.get(context)
        if table is None:
            return 0, 0, []
        packed = [(seen, token) for token, seen in islice(reversed(table.items()), _WIDEST)]
        best = packed if len(packed) == 1 else nlargest(most, packed)
        total = sum(seen >> _PLACE_BITS for seen, _ in packed)
        return total, len(packed), [(token, seen >> _PLACE_BITS) for seen, token in best]
