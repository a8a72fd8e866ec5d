"""What a build has read so far: passages on disk in any order, with a line in the journal for each file."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from ragdecode.indexing.building.journal import append
from ragdecode.indexing.building.working import Working
from ragdecode.indexing.manifest import FileEntry, SkippedEntry


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

    Attributes:
        files: Files read, by source, and where their passages are.
        skipped: Files that could not be read, by source.
    """

    def __init__(self, working: Working) -> None:
        self._working = working
        self._end = 0
        self.files: dict[str, tuple[FileEntry, Stretch]] = {}
        self.skipped: dict[str, SkippedEntry] = {}
        for raw in working.take("skipped"):
            entry = SkippedEntry.model_validate(raw)
            self.skipped[entry.source] = entry
        working.pool.touch()
        with working.pool.open("r+b") as stream:
            for raw in working.take("file"):
                stream.seek(raw["start"])
                lines = stream.read(raw["size"])
                if len(lines) == raw["size"] and zlib.crc32(lines) == raw["crc"]:
                    entry_of = FileEntry.model_validate(raw["entry"])
                    self.files[entry_of.source] = entry_of, Stretch(working.pool, raw["start"], raw["size"])
                    self._end = max(self._end, raw["start"] + raw["size"])
            stream.truncate(self._end)

    def add(self, entry: FileEntry, lines: bytes) -> Stretch:
        """Keep the passages of a file that has been read.

        Raises:
            OSError: The disk is full.
        """
        append(self._working.pool, lines)
        stretch = Stretch(self._working.pool, self._end, len(lines))
        self._end += len(lines)
        place = {"start": stretch.start, "size": stretch.size, "crc": zlib.crc32(lines)}
        self._working.journal.add({"file": {"entry": entry.model_dump(mode="json"), **place}})
        return stretch

    def leave_out(self, entry: SkippedEntry) -> None:
        """Remember that a file cannot be read.

        Raises:
            OSError: The disk is full.
        """
        self._working.journal.add({"skipped": entry.model_dump(mode="json")})
