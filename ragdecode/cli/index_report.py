"""The report of a build: one JSON line for every file that it met."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError, RunError

if TYPE_CHECKING:
    from ragdecode.documents.inventory import Inventory
    from ragdecode.documents.walk import Skipped
    from ragdecode.indexing.file_table import FileTable
    from ragdecode.indexing.files import FileEntry
    from ragdecode.indexing.report import BuildReport


class FileReport:
    """Writes the report of one build; made before it, so as to know what there was.

    Args:
        file: Where the report goes.
        index: Folder of the index.

    Raises:
        InputError: The report cannot go there.
    """

    def __init__(self, file: Path, index: Path) -> None:
        if file.is_dir() or not file.absolute().parent.is_dir():
            what = "it is a folder" if file.is_dir() else "there is no such folder"
            raise InputError(f"the report cannot be written to {str(file)!r}: {what}", hint="name another file")
        self._file = file
        self._index = index
        self._before = self._files()

    def write(self, inventory: Inventory, report: BuildReport) -> None:
        """After a build."""
        from ragdecode.indexing import manifest as manifests
        from ragdecode.indexing.files import FileEntry, read_listing

        manifest = manifests.read(self._index)
        assert manifest is not None, "it has just been built"
        read = (
            _line(
                entry.source,
                "unchanged" if self._unchanged(entry, report) else "read",
                reason="; ".join(entry.flaws),
                passages=entry.passages,
                size=entry.size,
            )
            for entry in read_listing(self._index, manifest)
            if isinstance(entry, FileEntry)
        )
        self._write(read, report.skipped, inventory)

    def write_empty(self, inventory: Inventory, skipped: Iterable[Skipped]) -> None:
        """After a build that found nothing to read."""
        self._write((), skipped, inventory)

    def _write(self, read: Iterable[str], skipped: Iterable[Skipped], inventory: Inventory) -> None:
        from ragdecode.cli.whole_file import write_whole

        reasons = {one.source: one.reason for one in skipped}
        sizes = {source: size for source, size, _ in inventory.files() if source in reasons}

        def lines() -> Iterator[str]:
            yield from read
            for source, reason in reasons.items():
                yield _line(source, "skipped", reason=reason, size=sizes.get(source))
            for other in inventory.others():
                yield _line(other.source, "left out", reason=other.reason)

        write_whole(self._file, lines())

    def _unchanged(self, entry: FileEntry, report: BuildReport) -> bool:
        if not report.built:
            return True
        before = None if report.fresh else self._before.file(entry.source)
        return before is not None and before.sha256 == entry.sha256

    def _files(self) -> FileTable:
        """The files of the index as it is."""
        from ragdecode.indexing import manifest as manifests
        from ragdecode.indexing.file_table import FileTable
        from ragdecode.indexing.files import read_listing

        try:
            manifest = manifests.read(self._index)
            return FileTable(read_listing(self._index, manifest) if manifest else ())
        except RunError:  # damaged, or of another version: built anew
            return FileTable()


def _line(source: str, status: str, reason: str = "", passages: int = 0, size: int | None = None) -> str:
    entry: dict[str, Any] = {
        "source": source,
        "status": status,
        "reason": reason,
        "passages": passages,
        "bytes": size,
    }
    return json.dumps(entry, ensure_ascii=False) + "\n"
