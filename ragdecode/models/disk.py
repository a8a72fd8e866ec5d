"""Room on disk: asked for beforehand, and named when it runs out all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragdecode.errors import RunError

_HINT = "free some space, or point the RAGDECODE_CACHE environment variable to a larger disk"


def require_space(folder: Path, needed: int) -> None:
    """Check that ``folder``'s disk can take ``needed`` more bytes.

    Raises:
        RunError: It cannot.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"not enough disk space in {folder}: {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free", hint=_HINT
        )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a failed read or write (disk full, no permission) inside the block into a `RunError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"the disk is full: {folder}", hint=_HINT) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(
                f"cannot write to {error.filename or folder}: {error.strerror}",
                hint="make it writable, or point the RAGDECODE_CACHE environment variable elsewhere",
            ) from error
        raise RunError(f"{folder}: {error}") from error
