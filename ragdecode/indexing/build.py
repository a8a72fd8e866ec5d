"""Builds an index: beside the old one, put in its place by one rename."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.documents.inventory import Inventory, scan
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Skipped
from ragdecode.errors import InputError, RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.building.collecting import Collector, Earlier
from ragdecode.indexing.building.continuing import continuable, same_spec, untouched
from ragdecode.indexing.building.crew import Crew, gathered
from ragdecode.indexing.building.identity import content, key
from ragdecode.indexing.building.loading import loaded
from ragdecode.indexing.building.pool import Pool
from ragdecode.indexing.building.store_stage import StoreStage, discard_replaced, same_models
from ragdecode.indexing.building.working import Working
from ragdecode.indexing.building.workspace import disk_errors, exclusive, next_folder, sweep
from ragdecode.indexing.estimate import Estimate, estimate
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.files import read_flaws, read_listing, write_listing
from ragdecode.indexing.manifest import Manifest
from ragdecode.indexing.passages import PassageTable, write_table
from ragdecode.indexing.report import BuildReport, EmptyCorpusError, StageReport, counted, in_bytes
from ragdecode.indexing.store import CorpusTokenizer, Encoders, Progress
from ragdecode.spec.index import IndexSpec

if TYPE_CHECKING:
    from ragdecode.indexing.memory.key_model import KeyModel

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
    tokenizer: Callable[[], CorpusTokenizer] | None = None,
    key_model: Callable[[], KeyModel] | None = None,
) -> BuildReport:
    """Bring the index in the folder ``target`` up to date with its corpus.

    Unchanged files are neither read nor split again, known texts are not embedded again. Until the new manifest
    takes the place of the old one in a single rename, the old index answers as before.

    A build that is killed, interrupted or out of disk space leaves its work in the folder ``.building``. The next
    build of the same corpus with the same splitting, readers and tokenizer goes on from there, and what it gives
    equals an unbroken build to the last bit. That holds for processes that die; after a loss of power the system
    may not have written everything, so checksums decide what is believed. A finished index is synced to disk before
    its manifest takes the place of the old one.

    Args:
        spec: What is indexed, and how.
        target: Folder of the index; made if it is not there.
        token_offsets: Character offsets of the tokens of a text.
        tokenizer_fingerprint: Changes whenever the same text would get other tokens.
        encoders: Gives the sentence encoder of a model.
        progress: Called with (stage, done, total).
        announce: Called once, between the walk through the corpus and the reading of its files.
        force: Take nothing over, neither from the old index nor from an interrupted build.
        wait: Seconds to wait while another process builds the same index.
        workers: Ray workers that read, split and embed; 0 for this process alone. They get ``token_offsets`` and
            ``encoders``, which must be picklable then.
        tokenizer: Gives the tokenizer itself, called only by stores that keep token ids; it has the fingerprint above.
        key_model: Gives the language model of that tokenizer, called only by stores that it makes.

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
        return _Build(
            spec,
            target,
            token_offsets,
            tokenizer_fingerprint,
            encoders,
            progress or silent,
            announce,
            force,
            workers,
            old,
            reason,
            tokenizer,
            key_model,
        ).run()


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
    force: bool
    workers: int
    old: Manifest | None
    reason: str
    ids: Callable[[], CorpusTokenizer] | None = None
    key_model: Callable[[], KeyModel] | None = None
    stages: list[StageReport] = field(default_factory=list)

    def run(self) -> BuildReport:
        """All stages. What an end before the last one leaves in the working folder, the next build goes on with."""
        found = scan(self.spec.corpus, self.progress)
        if self.old and untouched(self.target, self.old, self.spec, found) and self._same_models(self.old):
            if self.announce:
                self.announce(found, None)
            sweep(self.target, self.old.names, working=True)
            return self._report(self.old, unchanged=self.old.listing.files)
        listing = self.old.listing if self.old else None
        expected = listing.files + listing.skipped if listing else 0
        known = FileTable(read_listing(self.target, self.old) if self.old else (), expected=expected)
        if self.announce:
            self.announce(
                found, estimate(self.spec, found, self.old, known, self.target, self.encoders, self.key_model)
            )
        working = Working(self.target, key(self.spec, self.tokenizer, self.old), anew=self.force)
        sweep(self.target, manifests.named(self.target))
        with gathered(self.spec, self.token_offsets, self.encoders, self.workers) as crew:
            return self._run(found, known, working, crew)

    def _run(self, found: Inventory, known: FileTable, working: Working, crew: Crew) -> BuildReport:
        collector = self._collect(found, known, working, crew)
        if self.old and self._unchanged(collector, known):  # but for times: remember them, so as not to hash again
            timed = self.old.model_copy(update={"listing": write_listing(self.target, collector.table)})
            manifests.write(self.target, timed)
            sweep(self.target, timed.names, working=True)
            return self._report(timed, unchanged=collector.unchanged)
        sha256 = write_table(working.data, collector.stretches)
        working.begin_table(sha256)
        replaced = self.old or _readable(self.target)
        stores = StoreStage(
            self.target,
            working,
            sha256,
            crew,
            self.encoders,
            self.progress,
            self.old,
            replaced,
            self.ids,
            self.key_model,
        )
        table = PassageTable(working.data)
        for part in self.spec.stores:
            self.stages.append(stores.build(part, table))
        started = time.perf_counter()
        data = stores.finish()
        name = next_folder(self.target)
        manifest = Manifest(
            format=manifests.FORMAT,
            version=version("ragdecode"),
            folder=name,
            content=content(self.spec, self.tokenizer, collector.table.files(), stores.entries, sha256),
            spec=self.spec.model_dump(mode="json"),
            tokenizer=self.tokenizer,
            passages=len(table),
            tokens=collector.table.tokens,
            listing=write_listing(self.target, collector.table),
            stores=stores.entries,
            data=data,
        )
        working.place(self.target, name)
        manifests.write(self.target, manifest)  # from here on the new index answers
        sweep(self.target, manifest.names, working=True)
        discard_replaced(replaced, manifest)
        size = sum(entry.size for entry in data.values())
        self._stage("write", started, f"{len(data)} data files, {in_bytes(size)}")
        return self._report(
            manifest,
            added=collector.added,
            changed=collector.changed,
            removed=collector.removed,
            unchanged=collector.unchanged,
            resumed=collector.resumed,
            resumed_texts=stores.resumed_texts,
            fresh=self.old is None,
            built=True,
            reason=self.reason,
            stages=tuple(self.stages),
        )

    def _collect(self, found: Inventory, known: FileTable, working: Working, crew: Crew) -> Collector:
        started = time.perf_counter()
        passages = PassageTable(self.target / self.old.folder) if self.old else None
        moved = self.old is not None and self.old.spec["corpus"].get("path") != self.spec.corpus.path
        earlier = Earlier(known, passages, elsewhere=moved)
        collector = Collector(earlier, Pool(working), expected=len(found))
        for done in collector.collect(chain(found, loaded(self.spec.corpus.loaders)), crew):
            self.progress("read", done, max(done, len(found)))
        self.progress("read", len(found), len(found))
        count = sum(collector.table.passages)
        if not count:
            working.discard()
            raise _empty(self.spec, collector)
        before = f"{counted(collector.resumed, 'file')} read by an interrupted build" if collector.resumed else ""
        self._stage("read", started, before, count, collector.table.count_files())
        return collector

    def _unchanged(self, collector: Collector, known: FileTable) -> bool:
        assert self.old is not None
        return (
            not (collector.added or collector.changed or collector.removed)
            and _reasons(collector.table) == _reasons(known)
            and same_spec(self.old, self.spec)
            and self._same_models(self.old)
        )

    def _same_models(self, old: Manifest) -> bool:
        facts = {part.name: old.stores[part.name].facts for part in self.spec.stores}
        return all(
            same_models(part.build(), facts[part.name], self.encoders, self.key_model) for part in self.spec.stores
        )

    def _report(self, manifest: Manifest, **counts: Any) -> BuildReport:
        skipped, flaws = read_flaws(self.target, manifest)
        return BuildReport(
            content=manifest.content,
            passages=manifest.passages,
            tokens=manifest.tokens,
            files=manifest.listing.files,
            skipped=tuple(skipped),
            flaws=tuple(flaws),
            **counts,
        )

    def _stage(self, name: str, started: float, summary: str, passages: int = 0, files: int = 0) -> None:
        self.stages.append(StageReport(name, time.perf_counter() - started, summary, passages, files))


def _readable(target: Path) -> Manifest | None:
    """The manifest in place, as far as this version can read it."""
    try:
        return manifests.read(target)
    except RunError:
        return None


def _reasons(table: FileTable) -> list[tuple[str, str]]:
    """Files left out, and why."""
    return [(entry.source, entry.reason) for entry in table.skipped()]


def _empty(spec: IndexSpec, collector: Collector) -> EmptyCorpusError:
    patterns = ", ".join(spec.corpus.include) + "".join(f", not {one}" for one in spec.corpus.exclude)
    skipped = tuple(Skipped(entry.source, entry.reason) for entry in collector.table.skipped())
    reasons = [f"\n  {item.source!r}: {item.reason}" for item in skipped[:10]]
    if len(skipped) > 10:
        reasons.append(f"\n  and {len(skipped) - 10} more")
    what = "no readable file" if skipped else "no file"
    places = [f"{what} in {spec.corpus.path!r} for the patterns {patterns}"] if spec.corpus.path is not None else []
    if spec.corpus.loaders:
        places.append(f"nothing from {', '.join(part.name for part in spec.corpus.loaders)}")
    settings = "index.corpus.path, include or exclude" if spec.corpus.path is not None else "index.corpus.loaders"
    return EmptyCorpusError(
        f"the corpus is empty: {', '.join(places)}{''.join(reasons)}",
        hint=f"put documents there, or change {settings}",
        skipped=skipped,
    )
