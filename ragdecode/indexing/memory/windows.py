"""How documents are read: in windows that overlap, so that every key has left context, several windows a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: tokens of a pass, unless a window is longer
PASS = 2048


@dataclass(frozen=True)
class Reading:
    """Sizes of windows.

    Attributes:
        window: Tokens that are read together, at most.
        stride: From the start of a window to that of the next: a key has ``window - stride`` tokens of left context
            at least, unless its document begins later.
        context: Tokens of left context, the last one included, without which there is no key.
    """

    window: int
    stride: int
    context: int

    def entries(self, length: int) -> int:
        """Keys of a document of so many tokens; the last token has none, because nothing follows."""
        return max(0, length - self.context)


@dataclass(frozen=True)
class Window:
    """A stretch of a document that is read in one go.

    Attributes:
        document: Number of the document.
        start: First token that is read.
        first: First token whose key is wanted.
        stop: One beyond the last token.
        entry: Entry of the first key.
    """

    document: int
    start: int
    first: int
    stop: int
    entry: int

    @property
    def entries(self) -> tuple[int, int]:
        """The entries that it gives: first, and one beyond the last."""
        return self.entry, self.entry + self.stop - self.first


def windows(document: int, length: int, entry: int, reading: Reading) -> Iterator[Window]:
    """Windows of a document of ``length`` tokens whose first entry is ``entry``; each key is wanted once."""
    done, end, start = reading.context - 1, length - 1, 0
    while done < end:
        stop = min(start + reading.window, end)
        if stop > done:
            yield Window(document, start, done, stop, entry + done - (reading.context - 1))
            done = stop
        start += reading.stride


def passes(all_windows: Iterable[Window], tokens: int = PASS) -> Iterator[list[Window]]:
    """Windows that are read together, the same for the same windows."""
    batch: list[Window] = []
    size = 0
    for window in all_windows:
        length = window.stop - window.start
        if batch and size + length > tokens:
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += length
    if batch:
        yield batch
