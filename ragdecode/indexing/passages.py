"""The passages of an index on disk: one JSON line each, read one by one through a memory map."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ragdecode.documents.passage import Passage
from ragdecode.errors import RunError
from ragdecode.indexing.manifest import REBUILD_ALL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LINES, OFFSETS = "passages.jsonl", "passages.offsets.npy"


class PassageTable(Sequence[Passage]):
    """Passages by row number. Nothing is read before it is asked for.

    Args:
        folder: The index's data folder.

    Raises:
        RunError: The files are missing or do not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self._folder = folder
        try:
            self._offsets: NDArray[np.int64] = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            with (folder / LINES).open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(folder, str(error)) from error
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
            raise _damaged(self._folder, f"passage {row}: {error}") from error

    def __iter__(self) -> Iterator[Passage]:
        return (self[row] for row in range(len(self)))

    def lines(self, first: int, behind: int) -> bytes:
        """The JSON lines of rows ``first`` to ``behind - 1``, as they stand in the file."""
        return self._map[int(self._offsets[first]) : int(self._offsets[behind])]

    def texts(self) -> Iterator[str]:
        """The passages' texts in order of their rows."""
        return (passage.text for passage in self)


class PassageWriter:
    """Writes the passage files of an index, row by row; they are whole when its ``with`` block ends.

    Attributes:
        rows: Rows written so far.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._folder = folder
        self._stream = (folder / LINES).open("wb")
        self._offsets = [0]

    def write(self, passages: Iterable[Passage]) -> None:
        """Append passages."""
        for passage in passages:
            self._line(passage.to_json().encode() + b"\n")

    def copy(self, lines: bytes) -> None:
        """Append lines of another table."""
        for line in lines.splitlines(keepends=True):
            self._line(line)

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            with suppress(OSError):  # what went wrong first is what counts
                self._stream.close()
            return
        import numpy as np

        self._stream.close()
        np.save(self._folder / OFFSETS, np.asarray(self._offsets, np.int64), allow_pickle=False)

    def _line(self, line: bytes) -> None:
        self._stream.write(line)
        self._offsets.append(self._offsets[-1] + len(line))
        self.rows += 1


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(
        f"the index {str(folder.parent)!r} is damaged: {reason}",
        hint=REBUILD_ALL,
    )
