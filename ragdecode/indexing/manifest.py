"""The manifest of an index: what was built from what, and what its files must look like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ragdecode.errors import RunError
from ragdecode.spec.settings import Settings

#: grows whenever an index of an earlier version could not be read, or would be split or scored otherwise
FORMAT = 4
NAME = "manifest.json"
REBUILD = "rebuild it with 'ragdecode index build'; nothing but the index itself is lost"
#: for damage that sizes do not show, so that nothing is taken over
REBUILD_ALL = "rebuild it with 'ragdecode index build --force'; nothing but the index itself is lost"
#: bytes hashed at once
_BLOCK = 1 << 22


class DataEntry(Settings):
    """A data file of the index."""

    size: int
    sha256: str


class Listing(DataEntry):
    """The list of all files of the corpus, a file of its own beside this one: opening an index does not read it."""

    name: str = Field(pattern=r"^files-[0-9]+\.jsonl$")
    files: int
    """Number of files that were read, and of documents that loaders brought."""
    skipped: int
    """Number of files that were left out."""
    flaws: int
    """Number of things in the files that were read that could not be."""


class StoreEntry(Settings):
    """A store of the index."""

    settings: dict[str, Any]
    facts: dict[str, Any]


class Manifest(Settings):
    """Everything an index says about itself."""

    format: int
    version: str
    """Version of ragdecode that built it."""
    folder: str = Field(pattern=r"^data-[0-9]+$")
    """Folder of the data files, beside the manifest."""
    content: str
    """Hash over spec, models, files and passages; equal for equal corpora, specs and models."""
    spec: dict[str, Any]
    tokenizer: str
    """Fingerprint of the tokenizer that counted."""
    passages: int
    tokens: int
    listing: Listing
    stores: dict[str, StoreEntry]
    data: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$")], DataEntry
    ] = Field(min_length=1)

    @property
    def names(self) -> frozenset[str]:
        """What the folder of the index holds beside the manifest: the data folder and the list of files."""
        return frozenset((self.folder, self.listing.name))


def read(path: Path) -> Manifest | None:
    """The manifest of the index in the folder ``path``; None if there is no index.

    Raises:
        RunError: It is damaged, or written by another version.
    """
    file = path / NAME
    try:
        raw = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise unreadable(path, f"{NAME}: ", error, REBUILD) from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise RunError(f"the index {str(path)!r} has format {found}; this version reads format {FORMAT}", hint=REBUILD)
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"the index {str(path)!r} is damaged: {NAME}: {place}: {first['msg']}", hint=REBUILD) from error


def unreadable(path: Path, what: str, error: Exception, rebuild: str = REBUILD_ALL) -> RunError:
    """The error of an index a file of which cannot be read.

    Args:
        path: The index's folder.
        what: Which file or store, with a colon behind it.
        error: What was met.
        rebuild: The hint if the file is damaged, rather than forbidden.
    """
    if isinstance(error, PermissionError):
        hint = "check the permissions of its folder and files"
        return RunError(f"the index {str(path)!r} cannot be read: {what}{error.strerror}", hint=hint)
    # numpy takes a broken header for a pickle, and proposes to open it all the same
    reason = "the header of an array is broken" if "allow_pickle" in str(error) else str(error)
    return RunError(f"the index {str(path)!r} is damaged: {what}{reason}", hint=rebuild)


def named(path: Path) -> frozenset[str]:
    """Names of the data folder and of the list of files in use, as far as a manifest, even of another version, tells.

    Empty if there is no index.
    """
    try:
        raw = json.loads((path / NAME).read_bytes())
        listing = raw.get("listing")
        names = (raw.get("folder"), listing.get("name") if isinstance(listing, dict) else None)
    except (OSError, ValueError, AttributeError):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str))


def write(path: Path, manifest: Manifest) -> None:
    """Put the manifest into the folder ``path``, replacing the old one in one step."""
    beside = path / f".{NAME}.{os.getpid()}"
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(manifest.model_dump(mode="json"), stream, ensure_ascii=False, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path / NAME)
    sync_folder(path)


def describe(folder: Path, leave_out: str = "") -> dict[str, DataEntry]:
    """Size and hash of every data file, by path relative to ``folder``, sorted; synced to disk on the way.

    Args:
        folder: Where they are.
        leave_out: Name of a file that is none of them.
    """
    entries = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.name != leave_out):
        entries[path.relative_to(folder).as_posix()] = describe_file(path)
    for path in (*(item for item in folder.rglob("*") if item.is_dir()), folder):
        sync_folder(path)
    return entries


def describe_file(path: Path) -> DataEntry:
    """Size and hash of a data file, synced to disk."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    return DataEntry(size=path.stat().st_size, sha256=sha256)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damage(
    path: Path, manifest: Manifest, *, hashes: bool, hashed: Callable[[int], None] | None = None
) -> Iterator[str]:
    """What is wrong with the data files, one line each: missing, wrong size and, if asked, wrong content.

    Args:
        path: Folder of the index.
        manifest: What it says about itself.
        hashes: Whether all bytes are read.
        hashed: Called with the number of bytes read since the last call.
    """
    folder = path / manifest.folder
    for name, entry in manifest.data.items():
        yield from _damage(folder / name, name, entry, hashes, hashed)


def listing_damage(path: Path, manifest: Manifest, hashed: Callable[[int], None] | None = None) -> Iterator[str]:
    """What is wrong with the list of files; all of it is read. Arguments as for `damage`."""
    yield from _damage(path / manifest.listing.name, manifest.listing.name, manifest.listing, True, hashed)


def _damage(
    file: Path, name: str, entry: DataEntry, hashes: bool, hashed: Callable[[int], None] | None
) -> Iterator[str]:
    try:
        size = file.stat().st_size
        if size != entry.size:
            yield f"{name}: {size} bytes, expected {entry.size}"
        elif hashes and _sha256(file, hashed) != entry.sha256:
            yield f"{name}: its content has changed"
    except FileNotFoundError:
        yield f"{name}: missing"
    except OSError as error:
        yield f"{name}: {error.strerror}"


def _sha256(file: Path, hashed: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if hashed:
                hashed(len(block))
    return digest.hexdigest()
