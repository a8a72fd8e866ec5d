"""Corpus to passages on disk; what has not changed is taken over from the index before."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ragdecode.documents.reader import Reader
from ragdecode.documents.reading import digest, load, parse, reader_of
from ragdecode.documents.splitting import split
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Found, Skipped
from ragdecode.indexing.manifest import FileEntry, Manifest, SkippedEntry
from ragdecode.indexing.passages import PassageTable, PassageWriter
from ragdecode.spec.index import IndexSpec

logger = logging.getLogger(__name__)

#: a file changed less than this long before it was read may change again without a new time
_YOUNG_NS = 2_000_000_000


@dataclass(frozen=True)
class Earlier:
    """The index that is replaced, as far as its passages still hold.

    Attributes:
        files: Its files by source.
        skipped: What it left out, by source.
        first_row: First row of each file's passages.
        table: Its passages.
    """

    files: Mapping[str, FileEntry]
    skipped: Mapping[str, SkippedEntry]
    first_row: Mapping[str, int]
    table: PassageTable

    @classmethod
    def of(cls, manifest: Manifest, table: PassageTable) -> Earlier:
        """From an open index."""
        first_row, row = {}, 0
        for entry in manifest.files:
            first_row[entry.source] = row
            row += entry.passages
        files = {entry.source: entry for entry in manifest.files}
        return cls(files, {entry.source: entry for entry in manifest.skipped}, first_row, table)


@dataclass
class Collector:
    """Goes through the files one by one and writes their passages.

    Attributes:
        files: What was read, in order.
        skipped: What was left out, in order.
        added: New files.
        changed: Files with another content than before.
        unchanged: Files taken over.
    """

    spec: IndexSpec
    token_offsets: TokenOffsets
    readers: Mapping[str, Reader]
    earlier: Earlier | None
    files: list[FileEntry] = field(default_factory=list)
    skipped: list[SkippedEntry] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    unchanged: int = 0

    @property
    def removed(self) -> int:
        """Files of the earlier index that are not in this one."""
        now = {entry.source for entry in self.files}
        return 0 if self.earlier is None else sum(source not in now for source in self.earlier.files)

    def take(self, item: Found | Skipped, writer: PassageWriter) -> None:
        """Handle one item of the walk."""
        entry = _entry(item) if isinstance(item, Skipped) else self._file(item, writer)
        if isinstance(entry, SkippedEntry):
            logger.info("skipped %r: %s", entry.source, entry.reason)
            self.skipped.append(entry)
        else:
            self.files.append(entry)

    def _file(self, file: Found, writer: PassageWriter) -> FileEntry | SkippedEntry:
        before = self.earlier.files.get(file.source) if self.earlier else None
        if before and (before.size, before.mtime_ns) == (file.size, file.mtime_ns):
            return self._same(before, file.mtime_ns, writer)
        failed = self.earlier.skipped.get(file.source) if self.earlier else None
        if failed and (failed.size, failed.mtime_ns) == (file.size, file.mtime_ns):
            return failed
        reader = reader_of(file, self.readers)
        if isinstance(reader, Skipped):
            return _entry(reader)
        now = time.time_ns()
        data = load(file, self.spec.corpus.max_file_mb * 1e6)
        if isinstance(data, Skipped):
            return _entry(data)
        mtime_ns = file.mtime_ns if now - file.mtime_ns > _YOUNG_NS and len(data) == file.size else 0
        sha256 = digest(data)
        if before and before.sha256 == sha256:
            return self._same(before, mtime_ns, writer)
        document = parse(file, data, reader)
        if isinstance(document, Skipped):
            return _entry(document, len(data), mtime_ns)
        passages = split(document, file.source, self.spec.split, self.token_offsets)
        writer.write(passages)
        if before:
            self.changed += 1
        else:
            self.added += 1
        return FileEntry(
            source=file.source,
            sha256=sha256,
            size=len(data),
            mtime_ns=mtime_ns,
            passages=len(passages),
            tokens=sum(passage.tokens for passage in passages),
        )

    def _same(self, before: FileEntry, mtime_ns: int, writer: PassageWriter) -> FileEntry:
        assert self.earlier is not None
        first = self.earlier.first_row[before.source]
        writer.copy(self.earlier.table.lines(first, first + before.passages))
        self.unchanged += 1
        return before.model_copy(update={"mtime_ns": mtime_ns})


def _entry(skipped: Skipped, size: int = 0, mtime_ns: int = 0) -> SkippedEntry:
    return SkippedEntry(source=skipped.source, reason=skipped.reason, size=size, mtime_ns=mtime_ns)
