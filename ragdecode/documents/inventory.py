"""What lies in a corpus, before anything is read: a list that takes some sixty bytes a file."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from ragdecode.documents.names import Names
from ragdecode.documents.walk import EXCLUDED, HIDDEN, NOT_INCLUDED, Found, LeftOut, Skipped, everything
from ragdecode.spec.index import CorpusSpec

#: entries between two reports of progress
_OFTEN = 2000
_REASONS = (HIDDEN, EXCLUDED, NOT_INCLUDED)


class Inventory(Sequence[Found | Skipped]):
    """Files of a corpus in the order of the walk, each made when it is asked for.

    Args:
        folder: The corpus folder.

    Attributes:
        bytes: Size of all files to read.
        skipped: Number of items that are `Skipped`.
        left_out: Number of files and folders that the corpus does not ask for, by reason and file name suffix (lower
            case; empty if there is none, ``/`` for folders).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names, self._others = Names(), Names()
        self._sizes = array("q")  # -1 for what is skipped
        self._times = array("q")  # number of its reason for what is skipped
        self._why = array("B")  # of the others
        self._reasons: dict[str, int] = {}
        self._reason_of: list[str] = []
        self.bytes = 0
        self.skipped = 0
        self.left_out: Mapping[str, Counter[str]] = {reason: Counter() for reason in _REASONS}

    def add(self, item: Found | Skipped | LeftOut) -> None:
        """Append an item."""
        if isinstance(item, LeftOut):
            self._others.append(item.source)
            self._why.append(_REASONS.index(item.reason))
            self.left_out[item.reason][_suffix(item.source)] += 1
            return
        self._names.append(item.source)
        if isinstance(item, Found):
            self._sizes.append(item.size)
            self._times.append(item.mtime_ns)
            self.bytes += item.size
            return
        self.skipped += 1
        number = self._reasons.setdefault(item.reason, len(self._reason_of))
        if number == len(self._reason_of):
            self._reason_of.append(item.reason)
        self._sizes.append(-1)
        self._times.append(number)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> Found | Skipped: ...
    @overload
    def __getitem__(self, at: slice) -> list[Found | Skipped]: ...
    def __getitem__(self, at: int | slice) -> Found | Skipped | list[Found | Skipped]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        source, size = self._names[at], self._sizes[at]
        if size < 0:
            return Skipped(source, self._reason_of[self._times[at]])
        return Found(source, self._folder / source, size, self._times[at])

    def __iter__(self) -> Iterator[Found | Skipped]:
        return (self[at] for at in range(len(self)))

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Source, size and time of the files to read, without their paths."""
        for at, size in enumerate(self._sizes):
            if size >= 0:
                yield self._names[at], size, self._times[at]

    def others(self) -> Iterator[LeftOut]:
        """What the corpus does not ask for, in the order of the walk."""
        return (LeftOut(self._others[at], _REASONS[why]) for at, why in enumerate(self._why))


def scan(corpus: CorpusSpec, progress: Callable[[str, int, int], None] | None = None) -> Inventory:
    """Walk through a corpus without reading its files.

    Args:
        corpus: Which files are meant.
        progress: Called now and then with ("scanning", entries seen, 0).

    Raises:
        InputError: The corpus's path does not exist or cannot be listed.
    """
    path = Path(corpus.path) if corpus.path is not None else Path()
    inventory = Inventory(path.parent if path.is_file() else path)
    for seen, item in enumerate(everything(corpus), start=1):
        inventory.add(item)
        if progress and seen % _OFTEN == 0:
            progress("scanning", seen, 0)
    return inventory


def _suffix(source: str) -> str:
    if source.endswith("/"):
        return "/"
    stem, dot, suffix = source.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
