"""The passages of an index on disk: one JSON line each, read one by one through a memory map."""

from __future__ import annotations

import hashlib
import mmap
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ragdecode.documents.passage import Passage
from ragdecode.errors import RunError
from ragdecode.indexing.building.pool import Stretch
from ragdecode.indexing.manifest import REBUILD_ALL, unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LINES, OFFSETS = "passages.jsonl", "passages.offsets.npy"
#: how a line begins
_ID = b'{"id":"'
#: bytes copied or searched at once
_BLOCK = 1 << 20


class PassageTable(Sequence[Passage]):
    """Passages by row number. Nothing is read before it is asked for.

    Args:
        folder: The index's data folder.

    Attributes:
        folder: The same.

    Raises:
        RunError: The files are missing or do not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self.folder = folder
        try:
            self._offsets: NDArray[np.int64] = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            with (folder / LINES).open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, EOFError) as error:
            raise unreadable(folder.parent, "passages: ", error) from error
        if self._offsets.ndim != 1 or int(self._offsets[-1]) != len(self._map):
            raise _damaged(folder, "passages and their offsets do not fit each other")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> Passage: ...
    @overload
    def __getitem__(self, row: slice) -> list[Passage]: ...
    def __getitem__(self, row: int | slice) -> Passage | list[Passage]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        try:
            return Passage.from_json(self.lines(row, row + 1))
        except ValueError as error:
            raise _damaged(self.folder, f"passage {row}: {error}") from error

    def __iter__(self) -> Iterator[Passage]:
        return (self[row] for row in range(len(self)))

    def id(self, row: int) -> str:
        """Id of a passage; the rest of it is not read."""
        start, behind = int(self._offsets[row]) + len(_ID), int(self._offsets[row + 1])
        end = self._map.find(b'"', start, behind)
        if end < 0 or self._map[start - len(_ID) : start] != _ID or b"\\" in (name := self._map[start:end]):
            return self[row].id  # not as we write it
        return name.decode()

    def lines(self, first: int, behind: int) -> bytes:
        """The JSON lines of rows ``first`` to ``behind - 1``, as they stand in the file."""
        return self._map[int(self._offsets[first]) : int(self._offsets[behind])]

    def span(self, first: int, behind: int) -> tuple[int, int]:
        """Offset and number of the bytes of rows ``first`` to ``behind - 1`` in the file."""
        start = int(self._offsets[first])
        return start, int(self._offsets[behind]) - start

    def texts(self) -> Iterator[str]:
        """The passages' texts in order of their rows."""
        return (passage.text for passage in self)


def write_table(folder: Path, stretches: Iterable[Stretch]) -> str:
    """Put passages that lie on disk together into the passage files of an index.

    Args:
        folder: Where the files are written; old ones are replaced.
        stretches: Whole lines, in the order in which the index has them.

    Returns:
        SHA-256 of the lines, as hex.

    Raises:
        OSError: The disk is full.
    """
    joined = list(_joined(stretches))
    target = folder / LINES
    target.unlink(missing_ok=True)
    if not _linked(joined, target):
        with target.open("wb") as stream:
            for stretch in joined:
                for block in _blocks(stretch):
                    stream.write(block)
    return write_offsets(folder)


def write_offsets(folder: Path) -> str:
    """Write down where each line of the passage file begins and ends; the SHA-256 of all lines, as hex."""
    import numpy as np

    offsets = array("q", [0])
    sha256 = hashlib.sha256()
    start = 0
    with (folder / LINES).open("rb") as stream:
        while block := stream.read(_BLOCK):
            sha256.update(block)
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
            offsets.frombytes((ends + (start + 1)).astype(np.int64).tobytes())
            start += len(block)
    np.save(folder / OFFSETS, np.frombuffer(offsets, np.int64), allow_pickle=False)
    return sha256.hexdigest()


def _joined(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """The same bytes in as few stretches as possible."""
    last: Stretch | None = None
    for stretch in stretches:
        if last and (last.path, last.start + last.size) == (stretch.path, stretch.start):
            last = Stretch(last.path, last.start, last.size + stretch.size)
            continue
        if last:
            yield last
        last = stretch
    if last:
        yield last


def _linked(joined: list[Stretch], target: Path) -> bool:
    """Give a file that holds just what is wanted a second name, where the file system can."""
    if len(joined) != 1 or joined[0].start != 0 or joined[0].size != joined[0].path.stat().st_size:
        return False
    try:
        os.link(joined[0].path, target)
    except OSError:
        return False
    return True


def _blocks(stretch: Stretch) -> Iterator[bytes]:
    with stretch.path.open("rb") as stream:
        stream.seek(stretch.start)
        left = stretch.size
        while left and (block := stream.read(min(left, _BLOCK))):
            yield block
            left -= len(block)
    if left:
        raise OSError(f"{stretch.path}: {left} bytes are missing")


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(
        f"the index {str(folder.parent)!r} is damaged: {reason}",
        hint=REBUILD_ALL,
    )
