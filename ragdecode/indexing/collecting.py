"""Corpus to passages on disk; what has not changed is taken over from the index before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ragdecode.documents.passage import Passage
from ragdecode.documents.reader import Reader
from ragdecode.documents.reading import digest, load, parse
from ragdecode.documents.splitting import split
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Found, Skipped
from ragdecode.indexing.manifest import FileEntry, Manifest
from ragdecode.indexing.passages import PassageTable, PassageWriter
from ragdecode.spec.index import IndexSpec

#: a file changed less than this long before it was read may change again without a new time
_YOUNG_NS = 2_000_000_000


@dataclass(frozen=True)
class Earlier:
    """The index that is replaced, as far as its passages still hold.

    Attributes:
        files: Its files by source.
        first_row: First row of each file's passages.
        table: Its passages.
    """

    files: Mapping[str, FileEntry]
    first_row: Mapping[str, int]
    table: PassageTable

    @classmethod
    def of(cls, manifest: Manifest, table: PassageTable) -> Earlier:
        """From an open index."""
        first_row, row = {}, 0
        for entry in manifest.files:
            first_row[entry.source] = row
            row += entry.passages
        return cls({entry.source: entry for entry in manifest.files}, first_row, table)


@dataclass
class Collector:
    """Goes through the files one by one and writes their passages.

    Attributes:
        files: What was read, in order.
        skipped: What was left out, in order.
        added: New files.
        changed: Files with another content than before.
        unchanged: Files taken over.
        tokens: Tokens in all passages written.
    """

    spec: IndexSpec
    token_offsets: TokenOffsets
    readers: Mapping[str, Reader]
    earlier: Earlier | None
    files: list[FileEntry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    tokens: int = 0

    @property
    def removed(self) -> int:
        """Files of the earlier index that are not in this one."""
        now = {entry.source for entry in self.files}
        return 0 if self.earlier is None else sum(source not in now for source in self.earlier.files)

    def take(self, item: Found | Skipped, writer: PassageWriter) -> None:
        """Handle one item of the walk."""
        outcome = item if isinstance(item, Skipped) else self._file(item, writer)
        if isinstance(outcome, Skipped):
            self.skipped.append(outcome)
        else:
            self.files.append(outcome)

    def _file(self, file: Found, writer: PassageWriter) -> FileEntry | Skipped:
        before = self.earlier.files.get(file.source) if self.earlier else None
        if before and before.size == file.size and before.mtime_ns == file.mtime_ns:
            return self._same(before, file.mtime_ns, writer)
        now = time.time_ns()
        data = load(file, self.spec.corpus.max_file_mb * 1e6)
        if isinstance(data, Skipped):
            return data
        sha256 = digest(data)
        mtime_ns = file.mtime_ns if now - file.mtime_ns > _YOUNG_NS and len(data) == file.size else 0
        if before and before.sha256 == sha256:
            return self._same(before, mtime_ns, writer)
        document = parse(file, data, self.readers)
        if isinstance(document, Skipped):
            return document
        passages = split(document, file.source, self.spec.split, self.token_offsets)
        writer.write(passages)
        self.tokens += sum(passage.tokens for passage in passages)
        if before:
            self.changed += 1
        else:
            self.added += 1
        return FileEntry(source=file.source, sha256=sha256, size=len(data), mtime_ns=mtime_ns, passages=len(passages))

    def _same(self, before: FileEntry, mtime_ns: int, writer: PassageWriter) -> FileEntry:
        assert self.earlier is not None
        first = self.earlier.first_row[before.source]
        lines = self.earlier.table.lines(first, first + before.passages)
        writer.copy(lines)
        self.tokens += sum(Passage.from_json(line).tokens for line in lines.splitlines())
        self.unchanged += 1
        return before.model_copy(update={"mtime_ns": mtime_ns})
