"""The folder in which an index is built. It outlives a build that is killed, and the next build goes on in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.building.journal import Journal

NAME = ".building"
#: lines that tell of one file each
READ = ("file", "skipped")


class Working:
    """The working folder of an index.

    - ``journal.jsonl``: what has been done, in lines of one key: ``key`` (what is built), ``file`` and ``skipped``
      (what was read), ``table`` (passages written, by their hash), ``store`` (a store finished), ``placed`` (the data
      folder is about to be moved to its place)
    - ``read.jsonl``: passages of the files read, in any order
    - ``data``: what becomes the data folder
    - ``salvage-N``: stores that were built over another set of passages

    Args:
        target: Folder of the index, locked by this process.
        key: What the build depends on; another key throws away what there is.
        anew: Throw away what there is in any case.

    Attributes:
        path: The working folder.
        records: Lines of the journal when it was opened, but those of kinds that there may be a million of.
    """

    def __init__(self, target: Path, key: str, *, anew: bool) -> None:
        self.path = target / NAME
        self.journal = Journal(self.path / "journal.jsonl")
        self.records = self.journal.read(leave_out=READ)
        if anew or not self.records or self.records[0] != {"key": key} or self._finished(target):
            self.discard()
            self.path.mkdir()
            self.records = []
            self.journal.add({"key": key})
        self._move_back(target)
        self.data.mkdir(exist_ok=True)

    @property
    def data(self) -> Path:
        """What becomes the data folder."""
        return self.path / "data"

    @property
    def pool(self) -> Path:
        """Passages of the files read."""
        return self.path / "read.jsonl"

    @property
    def stores(self) -> Path:
        """Folders of the stores."""
        return self.data / "stores"

    def of(self, kind: str) -> list[Any]:
        """What lines of a kind said when the folder was opened."""
        return [record[kind] for record in self.records if kind in record]

    def place(self, target: Path, name: str) -> None:
        """Move the data folder to its place beside the manifest."""
        self.journal.add({"placed": name})
        self.data.rename(target / name)

    def begin_table(self, sha256: str) -> None:
        """Say which passages the stores are built over; stores over others are put aside."""
        tables = self.of("table")
        if tables and tables[-1] == sha256:
            return
        if self.stores.exists():
            self.stores.rename(self.path / f"salvage-{len(list(self.path.glob('salvage-*'))) + 1}")
        self.journal.add({"table": sha256})

    def salvage(self, store: str) -> tuple[Path, ...]:
        """Folders of a store that were put aside."""
        return tuple(sorted(path for path in self.path.glob(f"salvage-*/{store}") if path.is_dir()))

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _finished(self, target: Path) -> bool:
        """Whether the build was killed with nothing left to do but to remove this folder.

        Its passages may be those of the index in place, under another name: nothing may be added to them.
        """
        placed = self.of("placed")
        return bool(placed) and placed[-1] in manifests.named(target)

    def _move_back(self, target: Path) -> None:
        """Undo `place` of a build that was killed before its manifest was in place."""
        placed = self.of("placed")
        if placed and not self.data.exists() and (target / placed[-1]).is_dir():
            (target / placed[-1]).rename(self.data)
