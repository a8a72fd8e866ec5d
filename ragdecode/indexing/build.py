"""Builds an index: beside the old one, put in its place by one rename."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ragdecode.documents.inventory import Inventory, scan
from ragdecode.documents.reader import readers_by_suffix
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import InputError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.collecting import Collector, Earlier
from ragdecode.indexing.continuing import continuable, same_spec, untouched
from ragdecode.indexing.estimate import Estimate, estimate
from ragdecode.indexing.manifest import DataEntry, Manifest, StoreEntry
from ragdecode.indexing.passages import LINES, PassageTable, PassageWriter
from ragdecode.indexing.report import BuildReport, EmptyCorpusError, StageReport, in_bytes
from ragdecode.indexing.store import BuildContext, Built, Encoders, Previous, Progress
from ragdecode.indexing.workspace import disk_errors, exclusive, next_folder, sweep
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.settings import Settings

logger = logging.getLogger(__name__)

#: told what lies in the corpus and what the build will take (None: nothing is to be done), before anything is read
Announce = Callable[[Inventory, Estimate | None], None]


def build_index(
    spec: IndexSpec,
    target: Path,
    *,
    token_offsets: TokenOffsets,
    tokenizer_fingerprint: str,
    encoders: Encoders,
    progress: Progress | None = None,
    announce: Announce | None = None,
    force: bool = False,
    wait: float = 600.0,
    workers: int = 0,
) -> BuildReport:
    """Bring the index in the folder ``target`` up to date with its corpus.

    Unchanged files are neither read nor split again, known texts are not embedded again. Until the new manifest
    takes the place of the old one in a single rename, the old index answers as before.

    Args:
        spec: What is indexed, and how.
        target: Folder of the index; made if it is not there.
        token_offsets: Character offsets of the tokens of a text.
        tokenizer_fingerprint: Changes whenever the same text would get other tokens.
        encoders: Gives the sentence encoder of a model.
        progress: Called with (stage, done, total).
        announce: Called once, between the walk through the corpus and the reading of its files.
        force: Take nothing over.
        wait: Seconds to wait while another process builds the same index.
        workers: Ray workers that read, split and embed; 0 for this process alone.

    Returns:
        What was done.

    Raises:
        EmptyCorpusError: The corpus has no readable file.
        InputError: It cannot be read.
        RunError: Disk full or not writable, or another build does not end.
    """
    stores = [part.name for part in spec.stores]
    if workers < 0:
        raise InputError(f"workers: expected 0 or more, found {workers}")
    if not stores or len(set(stores)) != len(stores):
        found = ", ".join(stores) or "none"
        raise InputError(f"index.stores: expected one or more different stores, found {found}")
    silent: Progress = lambda stage, done, total: None  # noqa: E731
    with disk_errors(target), exclusive(target, wait):
        old, reason = (None, "") if force else continuable(target, spec, tokenizer_fingerprint)
        build = _Build(
            spec, target, token_offsets, tokenizer_fingerprint, encoders, progress or silent, announce, old, reason
        )
        return build.run()


@dataclass
class _Build:
    """One build, under the lock."""

    spec: IndexSpec
    target: Path
    token_offsets: TokenOffsets
    tokenizer: str
    encoders: Encoders
    progress: Progress
    announce: Announce | None
    old: Manifest | None
    reason: str
    stages: list[StageReport] = field(default_factory=list)

    def run(self) -> BuildReport:
        """All stages; the temporary folder goes away whatever happens."""
        sweep(self.target, keep=self._named())
        found = scan(self.spec.corpus, self.progress)
        if self.old and untouched(self.old, self.spec, found) and self._same_models(self.old):
            if self.announce:
                self.announce(found, None)
            return _report(self.old, unchanged=len(self.old.files))
        if self.announce:
            self.announce(found, estimate(self.spec, found, self.old, self.target, self.encoders))
        working = Path(tempfile.mkdtemp(prefix=".building-", dir=self.target))
        try:
            return self._run(found, working)
        finally:
            shutil.rmtree(working, ignore_errors=True)

    def _run(self, found: Sequence[Found | Skipped], working: Path) -> BuildReport:
        collector = self._collect(found, working)
        if self.old and self._unchanged(collector):  # but for times: remember them, so as not to hash again
            update = {"files": tuple(collector.files), "skipped": tuple(collector.skipped)}
            manifests.write(self.target, self.old.model_copy(update=update))
            return _report(self.old, unchanged=collector.unchanged)
        table = PassageTable(working)
        stores = {part.name: self._store(part, table, working) for part in self.spec.stores}
        started = time.perf_counter()
        data = manifests.describe(working)
        name = next_folder(self.target)
        working.rename(self.target / name)
        manifest = Manifest(
            format=manifests.FORMAT,
            version=version("ragdecode"),
            folder=name,
            content=self._content(collector, stores, data),
            spec=self.spec.model_dump(mode="json"),
            tokenizer=self.tokenizer,
            passages=len(table),
            tokens=sum(entry.tokens for entry in collector.files),
            files=tuple(collector.files),
            skipped=tuple(collector.skipped),
            stores=stores,
            data=data,
        )
        manifests.write(self.target, manifest)  # from here on the new index answers
        sweep(self.target, keep=name)
        size = sum(entry.size for entry in data.values())
        self._stage("write", started, f"{len(data)} data files, {in_bytes(size)}")
        return _report(
            manifest,
            added=collector.added,
            changed=collector.changed,
            removed=collector.removed,
            unchanged=collector.unchanged,
            fresh=self.old is None,
            built=True,
            reason=self.reason,
            stages=tuple(self.stages),
        )

    def _collect(self, found: Sequence[Found | Skipped], working: Path) -> Collector:
        started = time.perf_counter()
        earlier = Earlier.of(self.old, PassageTable(self.target / self.old.folder)) if self.old else None
        collector = Collector(self.spec, self.token_offsets, readers_by_suffix(), earlier)
        with PassageWriter(working) as writer:
            for done, item in enumerate(found, start=1):
                collector.take(item, writer)
                self.progress("read", done, len(found))
        if not writer.rows:
            raise _empty(self.spec, collector)
        self._stage("read", started, "", writer.rows, len(collector.files))
        return collector

    def _store(self, part: Any, table: PassageTable, working: Path) -> StoreEntry:
        started = time.perf_counter()
        folder = working / "stores" / part.name
        folder.mkdir(parents=True)
        context = BuildContext(self.encoders, self.progress, self._previous(part.name, part.settings))
        built: Built = part.build().build(table, folder, context)
        self._stage(f"store {part.name}", started, built.summary, len(table))
        return StoreEntry(settings=part.settings.model_dump(mode="json"), facts=built.facts)

    def _previous(self, name: str, settings: Settings) -> Previous | None:
        entry = self.old.stores.get(name) if self.old else None
        if self.old is None or entry is None or entry.settings != settings.model_dump(mode="json"):
            return None
        return Previous(self.target / self.old.folder / "stores" / name, entry.facts)

    def _unchanged(self, collector: Collector) -> bool:
        assert self.old is not None
        reasons = [(entry.source, entry.reason) for entry in collector.skipped]
        return (
            not (collector.added or collector.changed or collector.removed)
            and reasons == [(entry.source, entry.reason) for entry in self.old.skipped]
            and same_spec(self.old, self.spec)
            and self._same_models(self.old)
        )

    def _same_models(self, old: Manifest) -> bool:
        return all(part.build().current(old.stores[part.name].facts, self.encoders) for part in self.spec.stores)

    def _content(self, collector: Collector, stores: dict[str, StoreEntry], data: dict[str, DataEntry]) -> str:
        """Vectors are left out: their last bits depend on which texts were embedded together."""
        described = self.spec.model_dump(mode="json", exclude={"description": True, "corpus": {"path"}})
        files = [[entry.source, entry.sha256] for entry in collector.files]
        facts = {name: entry.facts for name, entry in stores.items()}
        everything = json.dumps([described, self.tokenizer, files, facts, data[LINES].sha256], sort_keys=True)
        return hashlib.sha256(everything.encode()).hexdigest()

    def _named(self) -> str | None:
        """The data folder that the manifest in place names, continued or not: it answers until the end."""
        if self.old:
            return self.old.folder
        return manifests.folder_named(self.target)

    def _stage(self, name: str, started: float, summary: str, passages: int = 0, files: int = 0) -> None:
        self.stages.append(StageReport(name, time.perf_counter() - started, summary, passages, files))


def _report(manifest: Manifest, **counts: Any) -> BuildReport:
    skipped = tuple(Skipped(entry.source, entry.reason) for entry in manifest.skipped)
    return BuildReport(
        content=manifest.content,
        passages=manifest.passages,
        tokens=manifest.tokens,
        files=len(manifest.files),
        skipped=skipped,
        **counts,
    )


def _empty(spec: IndexSpec, collector: Collector) -> EmptyCorpusError:
    patterns = ", ".join(spec.corpus.include) + "".join(f", not {one}" for one in spec.corpus.exclude)
    reasons = [f"\n  {item.source!r}: {item.reason}" for item in collector.skipped[:10]]
    if len(collector.skipped) > 10:
        reasons.append(f"\n  and {len(collector.skipped) - 10} more")
    what = "no readable file" if collector.skipped else "no file"
    return EmptyCorpusError(
        f"the corpus is empty: {what} in {spec.corpus.path!r} for the patterns {patterns}{''.join(reasons)}",
        hint="put documents there, or change index.corpus.path, include or exclude",
        skipped=tuple(Skipped(entry.source, entry.reason) for entry in collector.skipped),
    )
