"""Finds the files of a corpus, in a fixed order, never outside its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragdecode.documents.globs import matcher
from ragdecode.errors import InputError
from ragdecode.spec.index import CorpusSpec


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is left out although the corpus asks for it, and why.

    Attributes:
        source: Path relative to the corpus folder.
        reason: Shown to the user.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that the corpus does not ask for.

    Attributes:
        source: Path relative to the corpus folder; ends in ``/`` for a folder, which stands for all that is in it.
        reason: `HIDDEN`, `EXCLUDED` or `NOT_INCLUDED`.
    """

    source: str
    reason: str


HIDDEN, EXCLUDED, NOT_INCLUDED = "hidden", "matched by exclude", "not matched by include"


def walk(corpus: CorpusSpec) -> Iterator[Found | Skipped]:
    """Files that the corpus asks for, sorted by name within each folder, folders in their place.

    Hidden files and folders (names with a leading dot) are left out. Links are not followed: a target inside
    the corpus is found under its own name, one outside does not belong to it; both are reported.

    Raises:
        InputError: The corpus's path does not exist or cannot be listed.
    """
    return (item for item in everything(corpus) if not isinstance(item, LeftOut))


def everything(corpus: CorpusSpec) -> Iterator[Found | Skipped | LeftOut]:
    """All that `walk` meets, with what the corpus does not ask for; a folder left out is one item.

    Raises:
        InputError: As `walk` does.
    """
    if corpus.path is None:
        return
    root = Path(corpus.path)
    try:
        if root.is_file():
            yield _file(root.name, str(root), corpus)
            return
        folders = [_Folder("", os.fspath(root))]
    except OSError as error:
        raise InputError(
            f"the corpus {str(root)!r} cannot be read: {error.strerror}",
            hint="set index.corpus.path to a folder of documents (relative to the YAML file)",
        ) from error
    wanted, unwanted = matcher(corpus.include), matcher(corpus.exclude)
    inside = root.resolve()
    while folders:
        folder = folders[-1]
        if not folder.names:
            folders.pop()
            continue
        name = folder.names.pop()
        source, path = folder.prefix + name, f"{folder.path}{os.sep}{name}"
        shown = source if source.isascii() else source.encode("utf-8", "backslashreplace").decode()
        if name.startswith(".") or unwanted(source):
            slash = "/" if name in folder.folders else ""
            yield LeftOut(shown + slash, HIDDEN if name.startswith(".") else EXCLUDED)
        elif name in folder.folders:
            try:
                folders.append(_Folder(f"{source}/", path))
            except OSError as error:
                yield Skipped(shown, f"the folder cannot be listed: {error.strerror}")
        elif name in folder.links and (wanted(source) or Path(path).is_dir()):
            yield Skipped(shown, _link(Path(path), inside))
        elif not wanted(source):
            yield LeftOut(shown, NOT_INCLUDED)
        elif shown != source:
            yield Skipped(shown, "its name is not valid UTF-8")
        else:
            yield _file(source, path, corpus)


class _Folder:
    """What is still to be seen in a folder.

    Names only: the entries that ``scandir`` gives take several times their room, and a folder may hold millions.

    Attributes:
        prefix: Its path relative to the corpus folder, with a ``/`` behind it; empty for the corpus folder itself.
        path: Where it is.
        names: Names still to be seen, the next one last.
        folders: Those that are folders.
        links: Those that are symbolic links.
    """

    __slots__ = ("folders", "links", "names", "path", "prefix")

    def __init__(self, prefix: str, path: str) -> None:
        self.prefix = prefix
        self.path = path
        self.names: list[str] = []
        self.folders: set[str] = set()
        self.links: set[str] = set()
        with os.scandir(path) as entries:
            for entry in entries:
                self.names.append(entry.name)
                if entry.is_symlink():
                    self.links.add(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    self.folders.add(entry.name)
        self.names.sort(reverse=True)


def _file(source: str, path: str, corpus: CorpusSpec) -> Found | Skipped:
    file = Path(path)
    try:
        status = file.stat()
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
    return Found(source, file, status.st_size, status.st_mtime_ns)


def _link(path: Path, inside: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a link that leads nowhere or in a circle"
    if not target.is_relative_to(inside):
        return "a link out of the corpus folder"
    return f"a link to {target.relative_to(inside).as_posix()!r}, which is read under its own name"
