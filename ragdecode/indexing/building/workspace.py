"""The folder of an index while it is built: one builder at a time, leftovers swept, failures explained."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragdecode.errors import RunError

logger = logging.getLogger(__name__)


@contextmanager
def exclusive(target: Path, wait: float) -> Iterator[None]:
    """Make the folder, and keep other builders out of it.

    Raises:
        RunError: Another build has not ended after ``wait`` seconds.
    """
    from filelock import FileLock, Timeout

    target.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("waiting for another build of %s", target)
        try:
            lock.acquire(timeout=wait)
        except Timeout as error:
            raise RunError(
                f"another process is still building {str(target)!r} after {wait:g} s",
                hint="wait for it, or end it, and try again",
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn errors of the file system inside the block into a `RunError`."""
    try:
        yield
    except OSError as error:
        # numpy tells of a write that was cut short by words alone
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error)
        what = "the disk is full" if full else f"{error.strerror or error}"
        place = error.filename if isinstance(error.filename, str) else os.fspath(target)
        cure = "make room and build again" if full else "check the folder's permissions"
        raise RunError(
            f"the index {str(target)!r} cannot be written: {what} ({place!r})",
            hint=f"{cure}; the old index, if there was one, is whole, and the next build goes on from here",
        ) from error


def own_name(target: Path) -> str:
    """A name that no other index has, on any machine; kept in the folder, so that it is the same at every build."""
    file = target / ".name"
    if not file.exists():
        beside = target / f".name.{os.getpid()}"
        beside.write_text(secrets.token_hex(16), encoding="ascii")
        beside.replace(file)
    return file.read_text(encoding="ascii")


def sweep(target: Path, keep: Collection[str], *, working: bool = False) -> None:
    """Remove what dead builds left behind, and all data folders and lists of files but those to keep.

    Args:
        target: Folder of the index.
        keep: Names of the data folder that answers and of its list of files.
        working: Remove the working folder too: nothing is left to be done.
    """
    patterns = (".building-*", "data-*", "files-*.jsonl", ".manifest.json.*", *([".building"] if working else []))
    for path in [path for pattern in patterns for path in target.glob(pattern)]:
        if path.name in keep:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def next_folder(target: Path) -> str:
    """A name for a data folder that is not taken."""
    numbers = [int(path.name[5:]) for path in target.glob("data-*") if path.name[5:].isdecimal()]
    return f"data-{max(numbers, default=0) + 1}"
