"""Corpus to passages on disk; what has been read before, and has not changed, is not read again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ragdecode.documents.loader import Loaded
from ragdecode.documents.walk import Found, Skipped
from ragdecode.indexing.building.crew import Crew
from ragdecode.indexing.building.extraction import Job, Outcome, skipped_entry
from ragdecode.indexing.building.pool import Pool, Stretch
from ragdecode.indexing.manifest import FileEntry, Manifest, SkippedEntry
from ragdecode.indexing.passages import LINES, PassageTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """The index that is replaced, as far as its passages still hold.

    Attributes:
        files: Its files by source, and where their passages are.
        skipped: What it left out, by source.
    """

    files: Mapping[str, tuple[FileEntry, Stretch]] = field(default_factory=dict)
    skipped: Mapping[str, SkippedEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest, table: PassageTable) -> Earlier:
        """From an open index."""
        files, row = {}, 0
        for entry in manifest.files:
            start, size = table.span(row, row + entry.passages)
            files[entry.source] = entry, Stretch(table.folder / LINES, start, size)
            row += entry.passages
        return cls(files, {entry.source: entry for entry in manifest.skipped})


class Collector:
    """Goes through all items of a corpus. What is new is read by a crew and put into a pool.

    Args:
        earlier: The index before.
        pool: What this build and interrupted ones have read.

    Attributes:
        added: New files.
        changed: Files with another content than before.
        unchanged: Files taken over from the index before.
        resumed: Files that an interrupted build had read.
    """

    def __init__(self, earlier: Earlier, pool: Pool) -> None:
        self._earlier = earlier
        self._pool = pool
        self._entries: list[FileEntry | SkippedEntry | None] = []
        self._stretches: dict[int, Stretch] = {}
        self._sources: set[str] = set()
        self.added = self.changed = self.unchanged = self.resumed = 0

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """What was read, in order."""
        return tuple(entry for entry in self._entries if isinstance(entry, FileEntry))

    @property
    def skipped(self) -> tuple[SkippedEntry, ...]:
        """What was left out, in order."""
        return tuple(entry for entry in self._entries if isinstance(entry, SkippedEntry))

    @property
    def stretches(self) -> list[Stretch]:
        """Where the passages of all files are, in order."""
        return [self._stretches[place] for place in sorted(self._stretches)]

    @property
    def removed(self) -> int:
        """Files of the earlier index that are not in this one."""
        now = {entry.source for entry in self._entries if isinstance(entry, FileEntry)}
        return sum(source not in now for source in self._earlier.files)

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
            yield len(self._entries) - waiting

    def _job(self, item: Found | Skipped | Loaded) -> Job | None:
        """What is to be done about an item; None if that is clear without a look at its content."""
        place = len(self._entries)
        self._entries.append(None)
        if not isinstance(item, Skipped) and item.source in self._sources:
            item = Skipped(item.source, "another document has the same name")
        if isinstance(item, Skipped):
            self._leave_out(place, skipped_entry(item))
            return None
        self._sources.add(item.source)
        if isinstance(item, Found) and self._as_before(place, item):
            return None
        known = [self._earlier.files.get(item.source), self._pool.files.get(item.source)]
        return Job(place, item, tuple(pair[0].sha256 for pair in known if pair))

    def _as_before(self, place: int, file: Found) -> bool:
        """Settle a file whose size and time are those with which it was read, or failed, before."""
        now = (file.size, file.mtime_ns)
        before, pooled = self._earlier.files.get(file.source), self._pool.files.get(file.source)
        if before and (before[0].size, before[0].mtime_ns) == now:
            self._same(place, before[0])
            return True
        if pooled and (pooled[0].size, pooled[0].mtime_ns) == now:
            self._read(place, *pooled)
            self.resumed += 1
            return True
        for failed in (self._earlier.skipped.get(file.source), self._pool.skipped.get(file.source)):
            if failed and (failed.size, failed.mtime_ns) == now:
                self._leave_out(place, failed)
                return True
        return False

    def _take(self, outcome: Outcome) -> None:
        entry = outcome.entry
        if isinstance(entry, SkippedEntry):
            if entry.mtime_ns:
                self._pool.leave_out(entry)
            self._leave_out(outcome.place, entry)
        elif not outcome.known:
            self._read(outcome.place, entry, self._pool.add(entry, outcome.lines or b""))
        else:
            before, pooled = self._earlier.files.get(entry.source), self._pool.files.get(entry.source)
            update = {"size": entry.size, "mtime_ns": entry.mtime_ns}
            if before and before[0].sha256 == entry.sha256:
                self._same(outcome.place, before[0].model_copy(update=update))
            else:
                assert pooled is not None
                self._read(outcome.place, pooled[0].model_copy(update=update), pooled[1])
                self.resumed += 1

    def _same(self, place: int, entry: FileEntry) -> None:
        self._entries[place], self._stretches[place] = entry, self._earlier.files[entry.source][1]
        self.unchanged += 1

    def _read(self, place: int, entry: FileEntry, stretch: Stretch) -> None:
        self._entries[place], self._stretches[place] = entry, stretch
        if entry.source in self._earlier.files:
            self.changed += 1
        else:
            self.added += 1

    def _leave_out(self, place: int, entry: SkippedEntry) -> None:
        logger.info("skipped %r: %s", entry.source, entry.reason)
        self._entries[place] = entry
