"""What rows have read before: keys and values of token prefixes, kept for requests that begin in the same way.

A system prompt, a document that is asked about again, a chat that goes on: what is equal from position 0 on, under
the same model, is read once. Nothing else is ever reused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.row import Row

#: Shorter common prefixes are not worth a copy, and the beginning of a chat template is no secret worth keeping.
SHORTEST = 16


@dataclass(frozen=True)
class _Kept:
    """A prefix that outlived its row."""

    tokens: tuple[int, ...]
    saved: Any
    size: int


class Prefixes:
    """Least recently used prefixes by backend, within a memory budget.

    Args:
        budget: Bytes that kept prefixes may take; 0 keeps nothing and shares nothing.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], _Kept] = OrderedDict()
        self.used = 0

    def keep(self, row: Row, answer: Sequence[int]) -> None:
        """Remember what a row has cached, before it is closed; its answer counts too, for chats that go on."""
        length = min(row.cached, row.plain)
        size = length * row.backend.token_bytes
        if length < SHORTEST or not 0 < size <= self._budget:
            return
        tokens = tuple([*row.prompt, *(answer if row.own is None else row.own)][:length])
        for key, kept in list(self._kept.items()):
            if key[0] != row.model:
                continue
            common = _common(kept.tokens, tokens)
            if common == len(tokens):  # known already, and perhaps more
                self._kept.move_to_end(key)
                return
            if common == len(kept.tokens):
                self._forget(key)
        while self.used + size > self._budget:
            self._forget(next(iter(self._kept)))
        try:
            saved = row.backend.save_prefix(row.handle, length)
        except (RuntimeError, MemoryError):  # no room for a copy: then nothing is kept
            return
        self._kept[row.model, tokens] = _Kept(tokens, saved, size)
        self.used += size

    def fill(self, row: Row, others: Iterable[Row]) -> int:
        """Give a row that is still reading its prompt the longest beginning that is known.

        Args:
            row: The row.
            others: Rows in flight, which may have read further.

        Returns:
            Tokens that need not be read any more.
        """
        wanted = row.prompt
        # the last token is fed with the tree, and what a rule wants to read, or other weights would see, is run
        limit = min(len(wanted) - 1, row.unread, row.plain)
        if not self._budget or limit - row.cached < SHORTEST:
            return 0
        best, source = row.cached + SHORTEST - 1, None
        found: _Kept | Row | None = None
        for key, kept in self._kept.items():
            if key[0] == row.model and (common := min(_common(kept.tokens, wanted), limit)) > best:
                best, found, source = common, kept, key
        for other in others:
            if other is row or other.model != row.model:
                continue
            cached = min(other.cached, len(other.prompt), other.plain)
            if cached > best and (common := min(_common(other.prompt[:cached], wanted), limit)) > best:
                best, found, source = common, other, None
        if found is None:
            return 0
        if source is not None:
            self._kept.move_to_end(source)
        saved = found.saved if isinstance(found, _Kept) else row.backend.save_prefix(found.handle, best)
        row.backend.load_prefix(row.handle, saved, best)
        gained, row.cached = best - row.cached, best
        return gained

    def clear(self) -> None:
        """Let go of everything that is kept."""
        self._kept.clear()
        self.used = 0

    def _forget(self, key: tuple[str, tuple[int, ...]]) -> None:
        self.used -= self._kept.pop(key).size


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix, by comparing slices (a loop in C) of doubling fineness."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if list(one[low:middle]) == list(other[low:middle]):
            low = middle
        else:
            high = middle - 1
    return low
