"""The list of files of an index: JSON lines beside the manifest, one for each file, in the order of the corpus.

Only builds, reports and verification read it, from its beginning to its end: a search never does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ragdecode.documents.names import encoded
from ragdecode.documents.walk import Skipped
from ragdecode.errors import RunError
from ragdecode.indexing.manifest import REBUILD_ALL, Listing, Manifest

#: stand in the lines of files skipped, and of those read in part, and in no others: quotes in texts are escaped
_SKIPPED, _FLAWS = b'{"skipped":', b',"flaws":['


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the corpus that was read, or a document that a loader brought.

    Attributes:
        source: Its path in the corpus, or the loader's name for it.
        sha256: Hash of its content.
        size: Bytes.
        mtime_ns: Time of its last change; 0 when it was so young that a later change might not show in its time.
        passages: Number of its passages.
        tokens: Tokens in them.
        flaws: What in it could not be read, while the rest could: ``line 7: ...``.
    """

    source: str
    sha256: str
    size: int
    mtime_ns: int
    passages: int = 0
    tokens: int = 0
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """A file of the corpus that was left out.

    Attributes:
        source: Its path in the corpus, or the loader's name for it.
        reason: Shown to the user.
        size: Bytes; 0 if its content was not looked at.
        mtime_ns: 0 when it must be tried again: it was too young, or the reason does not lie in its content.
    """

    source: str
    reason: str
    size: int = 0
    mtime_ns: int = 0


Entry = FileEntry | SkippedEntry


def as_json(entry: Entry) -> dict[str, Any]:
    """An entry as it stands in the list and in journals of builds."""
    if isinstance(entry, SkippedEntry):
        return {
            "skipped": entry.reason,
            "source": entry.source,
            "size": entry.size,
            "mtime_ns": entry.mtime_ns,
        }
    raw = {
        "source": entry.source,
        "sha256": entry.sha256,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "passages": entry.passages,
        "tokens": entry.tokens,
    }
    return {**raw, "flaws": entry.flaws} if entry.flaws else raw


def from_json(raw: dict[str, Any]) -> Entry:
    """The entry that `as_json` has described.

    Raises:
        KeyError: It is none.
    """
    if "skipped" in raw:
        return SkippedEntry(raw["source"], raw["skipped"], raw["size"], raw["mtime_ns"])
    counts = raw["size"], raw["mtime_ns"], raw["passages"], raw["tokens"]
    return FileEntry(raw["source"], raw["sha256"], *counts, tuple(raw.get("flaws", ())))


def write_listing(target: Path, entries: Iterable[Entry]) -> Listing:
    """Write a list beside those that are there. It is synced to disk; a manifest that names it is still to come.

    Args:
        target: Folder of the index.
        entries: All files, in the order of the corpus.

    Raises:
        OSError: The disk is full.
    """
    name = _next_name(target)
    digest = hashlib.sha256()
    files = skipped = flaws = 0
    with (target / name).open("wb") as stream:
        for entry in entries:
            line = encoded(json.dumps(as_json(entry), ensure_ascii=False, separators=(",", ":"))) + b"\n"
            digest.update(line)
            stream.write(line)
            if isinstance(entry, SkippedEntry):
                skipped += 1
            else:
                files += 1
                flaws += len(entry.flaws)
        size = stream.tell()
        stream.flush()
        os.fsync(stream.fileno())
    return Listing(name=name, size=size, sha256=digest.hexdigest(), files=files, skipped=skipped, flaws=flaws)


def read_listing(target: Path, manifest: Manifest) -> Iterator[Entry]:
    """All files of an index, read from disk one after the other.

    Args:
        target: Folder of the index.
        manifest: What the index says about itself.

    Raises:
        RunError: The list is missing or damaged.
    """
    return (_parsed(target, manifest, line) for line in _lines(target, manifest))


def read_flaws(target: Path, manifest: Manifest) -> tuple[list[Skipped], list[Skipped]]:
    """Files that were left out, and parts of files that could not be read. No more is read than is needed for that.

    Args:
        target: Folder of the index.
        manifest: What the index says about itself.

    Raises:
        RunError: The list is missing or damaged.
    """
    skipped: list[Skipped] = []
    flaws: list[Skipped] = []
    listing = manifest.listing
    if not listing.skipped and not listing.flaws:
        return skipped, flaws
    for line in _lines(target, manifest):
        if line.startswith(_SKIPPED) or _FLAWS in line:
            entry = _parsed(target, manifest, line)
            if isinstance(entry, SkippedEntry):
                skipped.append(Skipped(entry.source, entry.reason))
            else:
                flaws.extend(Skipped(entry.source, flaw) for flaw in entry.flaws)
            if len(skipped) >= listing.skipped and len(flaws) >= listing.flaws:
                break
    return skipped, flaws


def _lines(target: Path, manifest: Manifest) -> Iterator[bytes]:
    listing = manifest.listing
    try:
        with (target / listing.name).open("rb") as stream:
            yield from islice(stream, listing.files + listing.skipped)
    except FileNotFoundError as error:
        raise _damaged(target, manifest, "missing; has the index been rebuilt since it was opened?") from error
    except OSError as error:
        raise _damaged(target, manifest, str(error.strerror)) from error


def _parsed(target: Path, manifest: Manifest, line: bytes) -> Entry:
    try:
        return from_json(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(target, manifest, f"a line is no file: {line[:80]!r}") from error


def _damaged(target: Path, manifest: Manifest, what: str) -> RunError:
    return RunError(f"the index {str(target)!r} is damaged: {manifest.listing.name}: {what}", hint=REBUILD_ALL)


def _next_name(target: Path) -> str:
    """A name for a list that is not taken."""
    numbers = [int(path.stem[6:]) for path in target.glob("files-*.jsonl") if path.stem[6:].isdecimal()]
    return f"files-{max(numbers, default=0) + 1}.jsonl"
