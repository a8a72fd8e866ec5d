"""Corpus to passages on disk; what has been read before, and has not changed, is not read again."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ragdecode.documents.loader import Loaded
from ragdecode.documents.walk import Found, Skipped
from ragdecode.indexing.building.crew import Crew
from ragdecode.indexing.building.extraction import Job, Outcome, skipped_entry
from ragdecode.indexing.building.pool import Pool, Stretch
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.files import FileEntry, SkippedEntry
from ragdecode.indexing.passages import LINES, PassageTable

logger = logging.getLogger(__name__)


class Earlier:
    """The index that is replaced, as far as its passages still hold.

    Args:
        files: Its files.
        passages: Its passages, those of one file after those of the other; None if there is no such index.
        elsewhere: Whether its files lay in another folder: names, sizes and times do not tell that they are the same.

    Attributes:
        files: The same.
    """

    def __init__(self, files: FileTable, passages: PassageTable | None, *, elsewhere: bool = False) -> None:
        self.files = files
        self._passages = passages
        self._elsewhere = elsewhere
        self._first = array("q")  # passage of each file
        first = 0
        for count in files.passages:
            self._first.append(first)
            first += count

    def file(self, source: str) -> tuple[FileEntry, Stretch] | None:
        """A file of it, and where its passages are."""
        row = self.files.find(source)
        entry = self.files[row] if row is not None else None
        if row is None or self._passages is None or not isinstance(entry, FileEntry):
            return None
        start, size = self._passages.span(self._first[row], self._first[row] + entry.passages)
        return entry, Stretch(self._passages.folder / LINES, start, size)

    def skipped(self, source: str) -> SkippedEntry | None:
        """A file that it left out."""
        row = self.files.find(source)
        entry = self.files[row] if row is not None else None
        return entry if isinstance(entry, SkippedEntry) else None

    def holds(self, entry: FileEntry | SkippedEntry | None, file: Found) -> bool:
        """Whether an entry of it is about that very file as it is now."""
        if entry is None or self._elsewhere:
            return False
        return (entry.size, entry.mtime_ns) == (file.size, file.mtime_ns)


class Collector:
    """Goes through all items of a corpus. What is new is read by a crew and put into a pool.

    Args:
        earlier: The index before.
        pool: What this build and interrupted ones have read.
        expected: Number of items to expect.

    Attributes:
        table: All items in order, read or left out.
        added: New files.
        changed: Files with another content than before.
        unchanged: Files taken over from the index before.
        resumed: Files that an interrupted build had read.
    """

    def __init__(self, earlier: Earlier, pool: Pool, expected: int = 0) -> None:
        self._earlier = earlier
        self._pool = pool
        self.table = FileTable(expected=expected)
        # of each row: number of the file that its passages are in, and which of its bytes they are
        self._file, self._start, self._size = array("b"), array("q"), array("q")
        self._paths: list[Path] = []
        self.added = self.changed = self.unchanged = self.resumed = 0

    @property
    def stretches(self) -> Iterator[Stretch]:
        """Where the passages of all files are, in order."""
        for file, start, size in zip(self._file, self._start, self._size, strict=True):
            if file >= 0:
                yield Stretch(self._paths[file], start, size)

    @property
    def removed(self) -> int:
        """Files of the earlier index that are not in this one."""
        return sum(self.table.file(entry.source) is None for entry in self._earlier.files.files())

    def collect(self, items: Iterable[Found | Skipped | Loaded], crew: Crew) -> Iterator[int]:
        """Deal with all items; yields after each that needed work how many are done."""
        waiting = 0

        def jobs() -> Iterator[Job]:
            nonlocal waiting
            for item in items:
                job = self._job(item)
                if job:
                    waiting += 1
                    yield job

        for outcome in crew.extract(jobs()):
            waiting -= 1
            self._take(outcome)
            yield len(self.table) - waiting

    def _job(self, item: Found | Skipped | Loaded) -> Job | None:
        """What is to be done about an item; None if that is clear without a look at its content."""
        if not isinstance(item, Skipped) and item.source in self.table:
            item = Skipped(item.source, "another document has the same name")
        place = self.table.reserve(item.source, findable=not isinstance(item, Skipped))
        self._file.append(-1)
        self._start.append(0)
        self._size.append(0)
        if isinstance(item, Skipped):
            self._leave_out(place, skipped_entry(item))
            return None
        before, pooled = self._earlier.file(item.source), self._pool.file(item.source)
        if isinstance(item, Found) and self._as_before(place, item, before, pooled):
            return None
        return Job(place, item, tuple(pair[0].sha256 for pair in (before, pooled) if pair))

    def _as_before(
        self,
        place: int,
        file: Found,
        before: tuple[FileEntry, Stretch] | None,
        pooled: tuple[FileEntry, Stretch] | None,
    ) -> bool:
        """Settle a file whose size and time are those with which it was read, or failed, before."""
        now = (file.size, file.mtime_ns)
        if before and self._earlier.holds(before[0], file):
            self._same(place, *before)
            return True
        if pooled and (pooled[0].size, pooled[0].mtime_ns) == now:
            self._read(place, *pooled)
            self.resumed += 1
            return True
        failed = self._earlier.skipped(file.source)
        if failed is None or not self._earlier.holds(failed, file):
            failed = self._pool.skipped(file.source)
            if failed is None or (failed.size, failed.mtime_ns) != now:
                return False
        self._leave_out(place, failed)
        return True

    def _take(self, outcome: Outcome) -> None:
        entry = outcome.entry
        if isinstance(entry, SkippedEntry):
            if entry.mtime_ns:
                self._pool.leave_out(entry)
            self._leave_out(outcome.place, entry)
            return
        if not outcome.known:
            self._read(outcome.place, entry, self._pool.add(entry, outcome.lines or b""))
            return
        before, pooled = self._earlier.file(entry.source), self._pool.file(entry.source)
        if before and before[0].sha256 == entry.sha256:
            self._same(outcome.place, replace(before[0], size=entry.size, mtime_ns=entry.mtime_ns), before[1])
        else:
            assert pooled is not None
            self._read(outcome.place, replace(pooled[0], size=entry.size, mtime_ns=entry.mtime_ns), pooled[1])
            self.resumed += 1

    def _same(self, place: int, entry: FileEntry, stretch: Stretch) -> None:
        self._keep(place, entry, stretch)
        self.unchanged += 1

    def _read(self, place: int, entry: FileEntry, stretch: Stretch) -> None:
        self._keep(place, entry, stretch)
        if self._earlier.file(entry.source):
            self.changed += 1
        else:
            self.added += 1

    def _keep(self, place: int, entry: FileEntry, stretch: Stretch) -> None:
        self.table.put(place, entry)
        if stretch.path not in self._paths:
            self._paths.append(stretch.path)
        self._file[place] = self._paths.index(stretch.path)
        self._start[place], self._size[place] = stretch.start, stretch.size

    def _leave_out(self, place: int, entry: SkippedEntry) -> None:
        logger.info("skipped %r: %s", entry.source, entry.reason)
        self.table.put(place, entry)
