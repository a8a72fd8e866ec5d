"""Builds an index: beside the old one, put in its place by one rename."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdecode import __version__
from ragdecode.documents.reader import readers_by_suffix
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import walk
from ragdecode.errors import InputError, RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.collecting import Collector, Earlier
from ragdecode.indexing.manifest import Manifest, SkippedEntry, StoreEntry
from ragdecode.indexing.passages import PassageTable, PassageWriter
from ragdecode.indexing.report import BuildReport, StageReport
from ragdecode.indexing.store import BuildContext, Built, Encoders, Previous, Progress
from ragdecode.spec.index import IndexSpec

logger = logging.getLogger(__name__)

#: seconds to wait for another build of the same index
WAIT = 600.0


def build_index(
    spec: IndexSpec,
    target: Path,
    *,
    token_offsets: TokenOffsets,
    tokenizer_fingerprint: str,
    encoders: Encoders,
    progress: Progress | None = None,
    force: bool = False,
    wait: float = WAIT,
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
        force: Take nothing over.
        wait: Seconds to wait while another process builds the same index.

    Returns:
        What was done.

    Raises:
        InputError: The corpus cannot be read, or has no readable file.
        RunError: Disk full or not writable, or another build does not end.
    """
    stores = [part.name for part in spec.stores]
    if not stores or len(set(stores)) != len(stores):
        raise InputError(f"index.stores: expected one or more different stores, got {', '.join(stores) or 'none'}")
    with _disk_errors(target), _lock(target, wait):
        builder = _Builder(spec, target, token_offsets, tokenizer_fingerprint, encoders, progress, force)
        return builder.run()


class _Builder:
    """One build, under the lock."""

    def __init__(
        self,
        spec: IndexSpec,
        target: Path,
        token_offsets: TokenOffsets,
        tokenizer: str,
        encoders: Encoders,
        progress: Progress | None,
        force: bool,
    ) -> None:
        self.spec, self.target, self.token_offsets = spec, target, token_offsets
        self.tokenizer, self.encoders = tokenizer, encoders
        self.progress: Progress = progress or (lambda stage, done, total: None)
        self.stages: list[StageReport] = []
        self.old, self.reason = _continuable(target, tokenizer, spec, force)

    def run(self) -> BuildReport:
        """All stages; the temporary folder goes away whatever happens."""
        _sweep(self.target, keep=self.old)
        working = Path(tempfile.mkdtemp(prefix=".building-", dir=self.target))
        try:
            return self._run(working)
        finally:
            shutil.rmtree(working, ignore_errors=True)

    def _run(self, working: Path) -> BuildReport:
        collector = self._collect(working)
        if self.old and self._up_to_date(collector):
            entries = tuple(collector.files)
            if entries != self.old.files:  # only times differ: remember them, so as not to hash again
                manifests.write(self.target, self.old.model_copy(update={"files": entries}))
            return self._report(collector, self.old, built=False)
        table = PassageTable(working)
        stores = {}
        for part in self.spec.stores:
            folder = working / "stores" / part.name
            folder.mkdir(parents=True)
            started = time.perf_counter()
            context = BuildContext(self.encoders, self.progress, self._previous(part.name, part.settings))
            built: Built = part.build().build(table, folder, context)
            self._stage(f"store {part.name}", started, built.summary)
            stores[part.name] = StoreEntry(settings=part.settings.model_dump(mode="json"), facts=built.facts)
        started = time.perf_counter()
        data = manifests.describe(working)
        name = _next_folder(self.target)
        working.rename(self.target / name)
        manifest = Manifest(
            format=manifests.FORMAT,
            version=__version__,
            folder=name,
            content=_content(self.spec, self.tokenizer, collector, data),
            spec=self.spec.model_dump(mode="json"),
            tokenizer=self.tokenizer,
            passages=len(table),
            tokens=collector.tokens,
            files=tuple(collector.files),
            skipped=tuple(SkippedEntry(source=s.source, reason=s.reason) for s in collector.skipped),
            stores=stores,
            data=data,
        )
        manifests.write(self.target, manifest)  # from here on the new index answers
        _sweep(self.target, keep=manifest)
        size = sum(entry.size for entry in data.values())
        self._stage("write", started, f"{len(data)} data files, {size / 1e6:.1f} MB")
        return self._report(collector, manifest, built=True)

    def _collect(self, working: Path) -> Collector:
        started = time.perf_counter()
        found = list(walk(self.spec.corpus))
        earlier = Earlier.of(self.old, PassageTable(self.target / self.old.folder)) if self.old else None
        collector = Collector(self.spec, self.token_offsets, readers_by_suffix(), earlier)
        writer = PassageWriter(working)
        try:
            for done, item in enumerate(found, start=1):
                collector.take(item, writer)
                self.progress("read", done, len(found))
        finally:
            passages = writer.close()
        for skipped in collector.skipped:
            logger.warning("skipped %r: %s", skipped.source, skipped.reason)
        if not passages:
            raise _empty(self.spec, collector)
        self._stage("read", started, f"{len(collector.files)} files, {passages} passages")
        return collector

    def _up_to_date(self, collector: Collector) -> bool:
        assert self.old is not None
        skipped = tuple(SkippedEntry(source=s.source, reason=s.reason) for s in collector.skipped)
        nothing = not (collector.added or collector.changed or collector.removed)
        return nothing and skipped == self.old.skipped and _same(self.old.spec, self.spec, corpus=True)

    def _previous(self, name: str, settings: Any) -> Previous | None:
        entry = self.old.stores.get(name) if self.old else None
        if self.old is None or entry is None or entry.settings != settings.model_dump(mode="json"):
            return None
        return Previous(self.target / self.old.folder / "stores" / name, entry.facts)

    def _stage(self, name: str, started: float, summary: str) -> None:
        self.stages.append(StageReport(name, time.perf_counter() - started, summary))

    def _report(self, collector: Collector, manifest: Manifest, *, built: bool) -> BuildReport:
        return BuildReport(
            added=collector.added,
            changed=collector.changed,
            removed=collector.removed,
            unchanged=collector.unchanged,
            skipped=tuple(collector.skipped),
            passages=manifest.passages,
            tokens=manifest.tokens,
            fresh=self.old is None,
            built=built,
            reason=self.reason,
            stages=tuple(self.stages) if built else (),
            content=manifest.content,
        )


def _continuable(target: Path, tokenizer: str, spec: IndexSpec, force: bool) -> tuple[Manifest | None, str]:
    """The old manifest if its passages still hold, else None and why not."""
    if force:
        return None, ""
    try:
        old = manifests.read(target)
    except RunError as error:
        return None, error.message
    if old is None:
        return None, ""
    for problem in manifests.damage(target, old, hashes=False):
        return None, f"the old index is damaged: {problem}"
    if old.tokenizer != tokenizer:
        return None, "another tokenizer"
    if old.spec["split"] != spec.split.model_dump(mode="json"):
        return None, "passages are split otherwise now"
    return old, ""


def _same(recorded: dict[str, Any], spec: IndexSpec, *, corpus: bool) -> bool:
    now = spec.model_dump(mode="json")
    ignored = {"description"} if corpus else {"description", "corpus"}
    return {**recorded, **dict.fromkeys(ignored)} == {**now, **dict.fromkeys(ignored)}


def _empty(spec: IndexSpec, collector: Collector) -> InputError:
    patterns = ", ".join(spec.corpus.include) + "".join(f", not {one}" for one in spec.corpus.exclude)
    reasons = "".join(f"\n  {item.source!r}: {item.reason}" for item in collector.skipped[:10])
    more = f"\n  and {len(collector.skipped) - 10} more" if len(collector.skipped) > 10 else ""
    what = "no readable file" if collector.skipped else "no file"
    return InputError(
        f"the corpus is empty: {what} in {spec.corpus.path!r} for the patterns {patterns}{reasons}{more}",
        hint="put documents there, or change index.corpus.path, include or exclude",
    )


def _content(spec: IndexSpec, tokenizer: str, collector: Collector, data: dict[str, Any]) -> str:
    described = spec.model_dump(mode="json", exclude={"description": True, "corpus": {"path"}})
    everything = [
        described,
        tokenizer,
        [[entry.source, entry.sha256] for entry in collector.files],
        {name: entry.sha256 for name, entry in data.items()},
    ]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _next_folder(target: Path) -> str:
    numbers = [int(path.name[5:]) for path in target.glob("data-*") if path.name[5:].isdecimal()]
    return f"data-{max(numbers, default=0) + 1}"


def _sweep(target: Path, keep: Manifest | None) -> None:
    """Remove what dead builds left behind, and data that no manifest names."""
    try:
        named = keep or manifests.read(target)
    except RunError:
        named = None
    for path in (*target.glob(".building-*"), *target.glob("data-*"), *target.glob(".manifest.json.*")):
        if named is not None and path.name == named.folder:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _lock(target: Path, wait: float) -> Iterator[None]:
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
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"{error.strerror or error}"
        place = os.fspath(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else target
        raise RunError(
            f"the index {str(target)!r} cannot be written: {what} ({place!r})",
            hint="make room and build again; the old index, if there was one, is whole"
            if full
            else "check the folder's permissions; the old index, if there was one, is whole",
        ) from error
