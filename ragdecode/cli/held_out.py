"""Held-out text of commands that measure a memory by it."""

from __future__ import annotations

from pathlib import Path


def held_out(path: Path) -> list[tuple[str, str]]:
    """Name and content of each text file.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    from ragdecode.errors import InputError

    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.suffix in (".txt", ".md"))
    if not files:
        raise InputError(f"there is no .txt or .md file in {path}")
    found = []
    for file in files:
        try:
            found.append((file.name, file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"cannot read {file}: {reason}") from error
    return found
