"""Counts of tokens in any stretch of a text, from one tokenisation of the whole."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise

#: character offsets ``(start, end)`` of the tokens of a text, in order
TokenOffsets = Callable[[str], list[tuple[int, int]]]

#: characters given to the tokenizer at once; its memory grows with them
_BLOCK = 65_536


class TokenTable:
    """Where the tokens of a text begin.

    Attributes:
        starts: Character offset of each token's first character, non-decreasing. Several tokens that share one
            character share its offset.
    """

    def __init__(self, text: str, token_offsets: TokenOffsets) -> None:
        self.starts = array("q")  # a list would take five times the room
        for start, end in pairwise(blocks(text)):
            self.starts.extend(start + first for first, _ in token_offsets(text[start:end]))

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in ``text[start:end]``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def forward(self, start: int, limit: int, end: int) -> int:
        """Largest cut in ``(start, end]`` with at most ``limit`` tokens between; past one character at least."""
        first = bisect_left(self.starts, start)
        if first + limit >= len(self.starts) or self.starts[first + limit] >= end:
            return end
        cut = self.starts[first + limit]
        if cut > start:
            return cut
        behind = bisect_left(self.starts, start + 1)
        return min(self.starts[behind], end) if behind < len(self.starts) else end

    def backward(self, end: int, limit: int, start: int) -> int:
        """Smallest cut in ``[start, end]`` with at most ``limit`` tokens up to ``end``."""
        behind = bisect_left(self.starts, end)
        if behind - limit <= 0:
            return start
        if limit == 0:
            return end
        cut = self.starts[behind - limit]
        if self.starts[behind - limit - 1] == cut:  # inside a character: its first token would be one too many
            later = bisect_left(self.starts, cut + 1)
            cut = self.starts[later] if later < behind else end
        return max(start, cut)


def blocks(text: str) -> list[int]:
    """Borders of pieces of bounded length, at a blank line or a line end where there is one."""
    borders = [0]
    while len(text) - borders[-1] > _BLOCK:
        low, high = borders[-1] + _BLOCK // 2, borders[-1] + _BLOCK
        cut = next((at for mark in ("\n\n", "\n", " ") if (at := text.rfind(mark, low, high)) > 0), high)
        borders.append(cut)
    return [*borders, len(text)]
