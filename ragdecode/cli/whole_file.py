"""Writes a file whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ragdecode.errors import InputError, RunError


def write_whole(target: Path, text: str | bytes | Iterable[str], *, replace: bool = True) -> bool:
    """Write a file beside its place and move it there.

    Args:
        target: The file.
        text: Its content, whole or in pieces; bytes are written as they are.
        replace: Whether a file that is there is replaced.

    Returns:
        Whether it was written.

    Raises:
        InputError: It cannot be written there.
        RunError: The disk is full.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        if not replace and (target.exists() or target.is_symlink()):
            return False
        if replace and target.exists() and not target.is_file():  # such as /dev/stdout
            _write(target, text)
            return True
        try:
            _write(partial, text)
            partial.replace(target)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"cannot write {target}: the disk is full", hint="make room and try again") from error
        raise InputError(f"cannot write {target}: {error.strerror}", hint="name another place") from error
    return True


def _write(target: Path, text: str | bytes | Iterable[str]) -> None:
    if isinstance(text, bytes):
        target.write_bytes(text)
        return
    if isinstance(text, str):
        target.write_text(text, encoding="utf-8")
        return
    with target.open("w", encoding="utf-8") as stream:
        stream.writelines(text)
