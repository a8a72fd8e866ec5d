"""A file that says how far a build had come: one JSON object a line, added when what it speaks of is on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Lines that are only ever added.

    A line is written in one go, so that a process killed while it writes leaves whole lines and at most one torn
    one, at the end. The journal is not synced to disk: it guards against killed processes and full disks. After a
    loss of power its last lines, or what they speak of, may be missing; whoever reads them holds the checksums in
    them against the data.

    Args:
        path: The file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, leave_out: Collection[str] = ()) -> list[dict[str, Any]]:
        """All whole lines; what follows the last of them is cut off the file.

        Args:
            leave_out: Kinds of lines that are looked at, but not kept.
        """
        try:
            with self._path.open("r+b") as stream:
                records, whole = [], 0
                for line in stream:
                    record = _parsed(line)
                    if record is None:
                        break
                    if record.keys().isdisjoint(leave_out):
                        records.append(record)
                    whole += len(line)
                stream.truncate(whole)
        except FileNotFoundError:
            return []
        return records

    def lines(self, kinds: Collection[str]) -> Iterator[dict[str, Any]]:
        """Lines of some kinds, one after the other; `read` must have cut off what is not whole."""
        with self._path.open("rb") as stream:
            for line in stream:
                record = _parsed(line)
                if record is not None and not record.keys().isdisjoint(kinds):
                    yield record

    def add(self, record: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            OSError: The disk is full.
        """
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        append(self._path, line.encode())


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, past every buffer of this process.

    Raises:
        OSError: The disk is full; a part may have been written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
