"""The pieces of a section that passages are packed from: the coarsest ones that fit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ragdecode.documents.boundaries import BY_LINES, LEVELS, cuts
from ragdecode.documents.document import Block, Document
from ragdecode.documents.tokens import TokenTable

Span = tuple[int, int]


class Units:
    """Cuts sections of a document into pieces of at most ``limit`` tokens.

    A section that is too long is cut between paragraphs, then at the edges of blocks, then between sentences,
    lines, words and at last tokens; code and tables between lines before sentences. No cut lies inside a block
    that fits.
    """

    def __init__(self, document: Document, limit: int, table: TokenTable) -> None:
        self.text = document.text
        self.limit = limit
        self.table = table
        self.whole, self.broken = _sorted_out(document.blocks, limit, table)
        self.starts = [block.start for block in self.whole]
        edges = {edge for block in (*self.whole, *self.broken) for edge in (block.start, block.end)}
        self.edges = sorted(edges)
        self.broken_starts = [block.start for block in self.broken]

    def of(self, section: Span) -> Iterator[Span]:
        """Partition of a section, in order."""
        stack: list[tuple[Span, int]] = [(section, 0)]
        while stack:
            (start, end), level = stack.pop()
            if self.table.count(start, end) <= self.limit:
                yield start, end
            elif level <= len(LEVELS):
                borders = [start, *self._cuts(start, end, level), end]
                stack.extend((piece, level + 1) for piece in reversed(list(pairwise(borders))))
            else:
                while start < end:
                    cut = self.table.forward(start, self.limit, end)
                    yield start, cut
                    start = cut

    def _cuts(self, start: int, end: int, level: int) -> list[int]:
        if level == 1:
            edges = self.edges[bisect_right(self.edges, start) : bisect_left(self.edges, end)]
            return [edge for edge in edges if not self._inside(edge)]
        levels = BY_LINES if self._by_lines(start) else LEVELS
        found = cuts(self.text, start, end, levels[level - (level > 1)])
        return [cut for cut in found if not self._inside(cut)]

    def _inside(self, cut: int) -> bool:
        """Whether a cut would break a block that fits."""
        before = bisect_left(self.starts, cut) - 1
        return before >= 0 and cut < self.whole[before].end

    def _by_lines(self, start: int) -> bool:
        before = bisect_right(self.broken_starts, start) - 1
        return before >= 0 and start < self.broken[before].end


def _sorted_out(blocks: Sequence[Block], limit: int, table: TokenTable) -> tuple[list[Block], list[Block]]:
    """The outermost blocks that fit, and those too long for a passage that are made of lines; each in order."""
    whole: list[Block] = []
    broken: list[Block] = []
    for block in blocks:
        if whole and block.end <= whole[-1].end:  # inside one that stays whole
            continue
        if table.count(block.start, block.end) <= limit:
            whole.append(block)
        elif block.by_lines:
            broken.append(block)
    return whole, broken
