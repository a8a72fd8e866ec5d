"""One document to passages. It leaves no trace but its result, so it may run here or on another machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ragdecode.documents.document import Document
from ragdecode.documents.loader import Loaded
from ragdecode.documents.reader import Reader, readers_by_suffix
from ragdecode.documents.reading import digest, load, parse, reader_of
from ragdecode.documents.splitting import split
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Found, Skipped
from ragdecode.indexing.files import FileEntry, SkippedEntry
from ragdecode.spec.index import IndexSpec

#: a file changed less than this long before it was read may change again without a new time
_YOUNG_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """A document to be looked into.

    Attributes:
        place: Its number among all items of the corpus.
        item: A file, or a document from elsewhere.
        known: SHA-256 hashes of contents whose passages are at hand.
    """

    place: int
    item: Found | Loaded
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes:
        place: As in the job.
        entry: What the list of files will say; counts are 0 where the content is known.
        lines: Its passages, one JSON line each; None if there are none, or if they are known.
        known: Whether the content is one of those that the job knew.
    """

    place: int
    entry: FileEntry | SkippedEntry
    lines: bytes | None = None
    known: bool = False


class Extractor:
    """Reads and splits.

    Args:
        spec: The index.
        token_offsets: Character offsets of the tokens of a text.

    Raises:
        InputError: Two readers claim the same files.
    """

    def __init__(self, spec: IndexSpec, token_offsets: TokenOffsets) -> None:
        self._spec = spec
        self._token_offsets = token_offsets
        self._readers: Mapping[str, Reader] = readers_by_suffix(spec.corpus.readers)

    def __call__(self, job: Job) -> Outcome:
        """The passages of a document.

        Raises:
            RunError: The reader itself cannot run.
        """
        item = job.item
        return self._file(job, item) if isinstance(item, Found) else self._loaded(job, item)

    def _file(self, job: Job, file: Found) -> Outcome:
        reader = reader_of(file, self._readers)
        if isinstance(reader, Skipped):
            return Outcome(job.place, skipped_entry(reader))
        now = time.time_ns()
        data = load(file, self._spec.corpus.max_file_mb * 1e6)
        if isinstance(data, Skipped):
            return Outcome(job.place, skipped_entry(data))
        mtime_ns = file.mtime_ns if now - file.mtime_ns > _YOUNG_NS and len(data) == file.size else 0
        entry = FileEntry(source=file.source, sha256=digest(data), size=len(data), mtime_ns=mtime_ns)
        if entry.sha256 in job.known:
            return Outcome(job.place, entry, known=True)
        document = parse(file, data, reader)
        if isinstance(document, Skipped):
            return Outcome(job.place, skipped_entry(document, len(data), mtime_ns))
        del data
        return self._split(job.place, entry, document)

    def _loaded(self, job: Job, loaded: Loaded) -> Outcome:
        document = loaded.document
        if not document.text.strip():
            return Outcome(job.place, skipped_entry(Skipped(loaded.source, "no text in it")))
        content = json.dumps(asdict(document), sort_keys=True).encode()
        entry = FileEntry(source=loaded.source, sha256=digest(content), size=len(content), mtime_ns=0)
        if entry.sha256 in job.known:
            return Outcome(job.place, entry, known=True)
        return self._split(job.place, entry, document)

    def _split(self, place: int, entry: FileEntry, document: Document) -> Outcome:
        passages = split(document, entry.source, self._spec.split, self._token_offsets)
        try:
            lines = b"".join(passage.to_json().encode() + b"\n" for passage in passages)
        except UnicodeEncodeError as error:
            half = f"its text is not valid Unicode: half a character, U+{ord(error.object[error.start]):04X}, in it"
            return Outcome(place, skipped_entry(Skipped(entry.source, half), entry.size, entry.mtime_ns))
        read = replace(
            entry,
            passages=len(passages),
            tokens=sum(passage.tokens for passage in passages),
            flaws=tuple(f"{flaw.place}: {flaw.reason}" for flaw in document.problems),
        )
        return Outcome(place, read, lines)


def skipped_entry(skipped: Skipped, size: int = 0, mtime_ns: int = 0) -> SkippedEntry:
    """What the list of files says of a document that is left out."""
    return SkippedEntry(source=skipped.source, reason=skipped.reason, size=size, mtime_ns=mtime_ns)
