"""The stores of an index, built one after the other; those that an interrupted build has finished are kept."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.building.crew import Crew
from ragdecode.indexing.building.working import Working
from ragdecode.indexing.building.workspace import own_name
from ragdecode.indexing.manifest import DataEntry, Manifest, StoreEntry
from ragdecode.indexing.passages import LINES, OFFSETS, PassageTable
from ragdecode.indexing.report import StageReport
from ragdecode.indexing.store import (
    BuildContext,
    Built,
    CorpusTokenizer,
    Elsewhere,
    Encoders,
    Previous,
    Progress,
    ReadByModel,
    Store,
)
from ragdecode.indexing.vectors.embedding import HASHES, JOURNAL, VECTORS
from ragdecode.spec.part import Part, PartKind

if TYPE_CHECKING:
    from ragdecode.indexing.memory.key_model import KeyModel

logger = logging.getLogger(__name__)


class StoreStage:
    """Builds stores over the passages in the working folder.

    Args:
        target: Folder of the index.
        working: The build's folder.
        table: SHA-256 of the passages.
        crew: Who embeds.
        encoders: Gives sentence encoders.
        progress: Called with (stage, done, total).
        old: The index that is continued.
        replaced: The index that answers until the build ends, continued or not.
        tokenizer: The tokenizer that counts, if stores may use it.
        key_model: The language model that it belongs to, if stores may use it.

    Attributes:
        entries: What the manifest will say of the stores that are built.
        resumed_texts: Texts that interrupted builds had embedded.
    """

    def __init__(
        self,
        target: Path,
        working: Working,
        table: str,
        crew: Crew,
        encoders: Encoders,
        progress: Progress,
        old: Manifest | None,
        replaced: Manifest | None,
        tokenizer: Callable[[], CorpusTokenizer] | None = None,
        key_model: Callable[[], KeyModel] | None = None,
    ) -> None:
        self.entries: dict[str, StoreEntry] = {}
        self.resumed_texts = 0
        self._target, self._working, self._table, self._crew = target, working, table, crew
        self._encoders, self._progress = encoders, progress
        self._old, self._replaced, self._tokenizer, self._key_model = old, replaced, tokenizer, key_model
        self._data: dict[str, DataEntry] = {}
        # of each store the last line counts
        self._finished = {record["name"]: record for record in working.of("store")}

    def build(self, part: Part, passages: PassageTable) -> StageReport:
        """Build a store, unless an interrupted build has."""
        started = time.perf_counter()
        store: Store = part.build()
        name, settings = part.name, part.settings.model_dump(mode="json")
        folder = self._working.stores / name
        same = {"name": name, "settings": settings, "table": self._table}
        record = self._finished.get(name)
        if record and self._whole(record, same, folder) and self._current(store, record["facts"]):
            summary = f"{record['summary']}, by an interrupted build"
        else:
            _clear(folder, getattr(store, "resumes", frozenset({VECTORS, HASHES})))
            built: Built = store.build(passages, folder, self._context(store, name))
            data = manifests.describe(folder, leave_out=JOURNAL)
            described = {file: entry.model_dump() for file, entry in data.items()}
            record = {**same, "facts": built.facts, "summary": built.summary, "data": described}
            self._working.journal.add({"store": record})
            summary = built.summary
        self.entries[name] = StoreEntry(settings=settings, facts=record["facts"])
        self._data |= {f"stores/{name}/{file}": DataEntry(**entry) for file, entry in record["data"].items()}
        return StageReport(f"store {name}", time.perf_counter() - started, summary, len(passages))

    def finish(self) -> dict[str, DataEntry]:
        """Leave nothing but data files in the data folder, all of them on disk; size and hash of each."""
        for folder in self._working.stores.iterdir():
            if folder.name not in self.entries:  # of another spec
                shutil.rmtree(folder)
            (folder / JOURNAL).unlink(missing_ok=True)
        for name in (LINES, OFFSETS):
            self._data[name] = manifests.describe_file(self._working.data / name)
        manifests.sync_folder(self._working.stores)
        manifests.sync_folder(self._working.data)
        return dict(sorted(self._data.items()))

    def _context(self, store: Store, name: str) -> BuildContext:
        standing = self._replaced.stores.get(name) if self._replaced else None
        index = own_name(self._target) if isinstance(store, Elsewhere) else os.fspath(self._target)
        identity = hashlib.blake2b(f"{index}\n{name}".encode(), digest_size=8).hexdigest()
        return BuildContext(
            self._encoders,
            self._progress,
            self._previous(name),
            identity,
            standing.facts if standing else None,
            self._crew.encode,
            self._working.salvage(name),
            self._count_resumed,
            self._tokenizer,
            self._key_model,
        )

    def _previous(self, name: str) -> Previous | None:
        entry = self._old.stores.get(name) if self._old else None
        if self._old is None or entry is None:
            return None
        return Previous(self._target / self._old.folder / "stores" / name, entry.facts)

    def _current(self, store: Store, facts: dict[str, Any]) -> bool:
        return same_models(store, facts, self._encoders, self._key_model)

    def _count_resumed(self, texts: int) -> None:
        self.resumed_texts += texts

    def _whole(self, record: dict[str, Any], same: dict[str, Any], folder: Path) -> bool:
        """Whether a finished store is the one that is asked for, and all there."""
        sizes = {file: entry["size"] for file, entry in record["data"].items()}
        return all(record.get(key) == value for key, value in same.items()) and sizes == {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and path.name != JOURNAL
        }


def discard_replaced(replaced: Manifest | None, new: Manifest) -> None:
    """Let stores that keep data elsewhere remove what the index before has put there. It is too late for errors."""
    for name, entry in replaced.stores.items() if replaced else ():
        if name in new.stores and new.stores[name].facts == entry.facts:
            continue
        try:
            store = PartKind("store").validate({name: entry.settings}).build()
            if isinstance(store, Elsewhere):
                store.discard(entry.facts)
        except Exception as error:  # a database may fail in any way, a part may be gone
            logger.warning("store %s: what the index before has put elsewhere could not be removed: %s", name, error)


def same_models(
    store: Store, facts: Mapping[str, Any], encoders: Encoders, key_model: Callable[[], KeyModel] | None
) -> bool:
    """Whether a build now would use the same models as the one that left these facts."""
    if isinstance(store, ReadByModel) and key_model and not store.made_by(facts, key_model()):
        return False
    return store.current(facts, encoders)


def _clear(folder: Path, resumes: frozenset[str]) -> None:
    """Make a store's folder, empty but for vectors that an interrupted build has begun."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {*resumes, JOURNAL} if (folder / JOURNAL).exists() else set()
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()
