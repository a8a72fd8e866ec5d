"""Finds the files of a corpus, in a fixed order, never outside its folder."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragdecode.documents.globs import matcher
from ragdecode.errors import InputError
from ragdecode.spec.index import CorpusSpec


@dataclass(frozen=True)
class Found:
    """A file to read.

    Attributes:
        source: Path relative to the corpus folder, with ``/`` between folders.
        path: Where it is.
        size: Bytes.
        mtime_ns: Time of its last change, in nanoseconds.
    """

    source: str
    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Skipped:
    """A file or folder that is left out, and why.

    Attributes:
        source: Path relative to the corpus folder.
        reason: Shown to the user.
    """

    source: str
    reason: str


def walk(corpus: CorpusSpec) -> Iterator[Found | Skipped]:
    """Files that the corpus asks for, sorted by name within each folder, folders in their place.

    Hidden files and folders (names with a leading dot) are left out. Links are not followed: a target inside
    the corpus is found under its own name, one outside does not belong to it; both are reported.

    Raises:
        InputError: The corpus's path does not exist or cannot be listed.
    """
    if corpus.path is None:
        return
    root = Path(corpus.path)
    try:
        if root.is_file():
            yield _file(root.name, root.resolve(), corpus)
            return
        names = sorted(path.name for path in root.iterdir())
    except OSError as error:
        raise InputError(
            f"the corpus {str(root)!r} cannot be read: {error.strerror}",
            hint="set index.corpus.path to a folder of documents (relative to the YAML file)",
        ) from error
    wanted, unwanted = matcher(corpus.include), matcher(corpus.exclude)
    inside = root.resolve()
    stack = [(name, root / name) for name in reversed(names)]
    while stack:
        source, path = stack.pop()
        if path.name.startswith(".") or unwanted(source):
            continue
        shown = source.encode("utf-8", "backslashreplace").decode()
        if path.is_symlink():
            if wanted(source) or path.is_dir():
                yield Skipped(shown, _link(path, inside))
        elif path.is_dir():
            try:
                children = sorted(child.name for child in path.iterdir())
            except OSError as error:
                yield Skipped(shown, f"the folder cannot be listed: {error.strerror}")
                continue
            stack.extend((f"{source}/{name}", path / name) for name in reversed(children))
        elif not wanted(source):
            continue
        elif shown != source:
            yield Skipped(shown, "its name is not valid UTF-8")
        else:
            yield _file(source, path, corpus)


def _file(source: str, path: Path, corpus: CorpusSpec) -> Found | Skipped:
    try:
        status = path.stat()
    except OSError as error:
        return Skipped(source, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(source, "not a regular file")
    if status.st_size == 0:
        return Skipped(source, "empty")
    if status.st_size > corpus.max_file_mb * 1e6:
        return Skipped(
            source, f"too large: {status.st_size / 1e6:.1f} MB, the limit max_file_mb is {corpus.max_file_mb:g}"
        )
    return Found(source, path, status.st_size, status.st_mtime_ns)


def _link(path: Path, inside: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a link that leads nowhere or in a circle"
    if not target.is_relative_to(inside):
        return "a link out of the corpus folder"
    return f"a link to {target.relative_to(inside).as_posix()!r}, which is read under its own name"
