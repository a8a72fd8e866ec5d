"""What a build has read so far: passages on disk in any order, with a line in the journal for each file."""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

from ragdecode.indexing.building.journal import append
from ragdecode.indexing.building.working import READ, Working
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.files import Entry, FileEntry, SkippedEntry, as_json, from_json


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a file of passages.

    Attributes:
        path: The file.
        start: Offset of the first byte.
        size: Number of bytes.
    """

    path: Path
    start: int
    size: int


class Pool:
    """Passages read by this build and by interrupted ones before it.

    Args:
        working: The build's folder. What its journal says is held against the bytes on disk, so that after a loss
            of power nothing is believed that is not there.
    """

    def __init__(self, working: Working) -> None:
        self._working = working
        self._end = 0
        self._table = FileTable()  # of what was read before this build
        self._starts, self._sizes = array("q"), array("q")
        working.pool.touch()
        with working.pool.open("r+b") as stream:
            for line in working.journal.lines(READ):
                if "skipped" in line:
                    self._remember(from_json(line["skipped"]), 0, 0)
                    continue
                raw = line["file"]
                stream.seek(raw["start"])
                lines = stream.read(raw["size"])
                if len(lines) == raw["size"] and zlib.crc32(lines) == raw["crc"]:
                    self._remember(from_json(raw["entry"]), raw["start"], raw["size"])
                    self._end = max(self._end, raw["start"] + raw["size"])
            stream.truncate(self._end)

    def file(self, source: str) -> tuple[FileEntry, Stretch] | None:
        """A file that an interrupted build has read, and where its passages are."""
        row = self._table.find(source)
        entry = self._table[row] if row is not None else None
        if row is None or not isinstance(entry, FileEntry):
            return None
        return entry, Stretch(self._working.pool, self._starts[row], self._sizes[row])

    def skipped(self, source: str) -> SkippedEntry | None:
        """A file that an interrupted build could not read."""
        row = self._table.find(source)
        entry = self._table[row] if row is not None else None
        return entry if isinstance(entry, SkippedEntry) else None

    def add(self, entry: FileEntry, lines: bytes) -> Stretch:
        """Keep the passages of a file that has been read.

        Raises:
            OSError: The disk is full.
        """
        append(self._working.pool, lines)
        stretch = Stretch(self._working.pool, self._end, len(lines))
        self._end += len(lines)
        place = {"start": stretch.start, "size": stretch.size, "crc": zlib.crc32(lines)}
        self._working.journal.add({"file": {"entry": as_json(entry), **place}})
        return stretch

    def leave_out(self, entry: SkippedEntry) -> None:
        """Remember that a file cannot be read.

        Raises:
            OSError: The disk is full.
        """
        self._working.journal.add({"skipped": as_json(entry)})

    def _remember(self, entry: Entry, start: int, size: int) -> None:
        """Of each file the last line counts."""
        row = self._table.find(entry.source)
        if row is None:
            row = self._table.reserve(entry.source)
            self._starts.append(0)
            self._sizes.append(0)
        self._table.put(row, entry)
        self._starts[row], self._sizes[row] = start, size
