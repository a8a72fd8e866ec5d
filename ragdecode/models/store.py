"""The cache of models on disk: fetched, converted once, found again by name and source."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ragdecode.errors import InputError, RunError
from ragdecode.models.disk import disk_errors
from ragdecode.models.fetch import fetch
from ragdecode.models.manifest import Manifest, source_fingerprint, source_of
from ragdecode.models.progress import Progress, silent
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.nearest import did_you_mean


@dataclass(frozen=True)
class CachedModel:
    """A model in the cache.

    Attributes:
        name: Its name in YAML.
        path: Its folder.
        bytes: Size on disk.
        manifest: Where it came from; None if the copy is damaged.
    """

    name: str
    path: Path
    bytes: int
    manifest: Manifest | None


def cache_folder() -> Path:
    """The user's cache folder; ``RAGDECODE_CACHE`` overrides it."""
    if override := os.environ.get("RAGDECODE_CACHE"):
        return Path(override).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("ragdecode")


def model_name(spec: ModelSpec) -> str:
    """The model's name: its own, else that of its source; safe as a part of a file name."""
    source = spec.source
    if spec.name:
        name = spec.name
    elif source.hub is not None:
        name = source.hub.repo
    elif source.wheel is not None:
        name = source.wheel.package
    else:
        assert source.path is not None
        name = Path(source.path.path).name
    return re.sub(r"[^A-Za-z0-9._-]+", "--", name).strip(".") or "model"


class ModelStore:
    """Models on disk, one folder each: ``<cache>/models/<name>-<fingerprint>/``.

    A folder appears under its final name only when it is whole. Concurrent pulls of one model wait for each other.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        self.folder = (cache_dir if cache_dir is not None else cache_folder()) / "models"

    def locate(self, spec: ModelSpec) -> Path | None:
        """The folder of a model that can be loaded now, without fetching; None if there is none.

        Raises:
            InputError: The source is a path that does not exist.
            RunError: The cached copy is damaged.
        """
        if spec.source.path is not None:
            path = Path(spec.source.path.path).expanduser()
            if not path.exists():
                raise InputError(f"model {model_name(spec)}: {path} does not exist")
            if path.is_dir():
                return path
        folder = self._folder(spec)
        if not folder.exists():
            return None
        try:
            Manifest.read(folder)
        except RunError as error:
            error.hint = f"fetch it again: ragdecode models pull {model_name(spec)}"
            raise
        return folder

    def pull(self, spec: ModelSpec, progress: Progress = silent) -> Path:
        """Fetch and convert a model unless a whole copy is there already.

        Returns:
            Its folder.

        Raises:
            InputError: The source is wrong: no such repository, file, or no weights that are safe to read.
            RunError: Network, disk, a hash that does not match. Nothing is left behind.
        """
        with suppress(RunError):
            if (found := self.locate(spec)) is not None:
                return found
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self._folder(spec)
            with self._lock(target, progress):
                with suppress(RunError):
                    if (found := self.locate(spec)) is not None:
                        return found
                self._build(spec, target, progress)
        return target

    def require(self, spec: ModelSpec, fetch: bool = False, progress: Progress = silent) -> Path:
        """The folder of a model, ready to load.

        Args:
            spec: The model.
            fetch: Fetch what is not there; otherwise only a GGUF file on disk is converted.
            progress: Told what is done, if something is fetched.

        Raises:
            InputError: It is not there; the hint says what to type.
            RunError: The cached copy is damaged, or fetching failed.
        """
        found = self.locate(spec)
        if found is not None:
            return found
        if fetch or spec.source.path is not None:
            return self.pull(spec, progress)
        name = model_name(spec)
        raise InputError(f"the weights of {name} are not on this machine", hint=f"ragdecode models pull {name}")

    def list(self) -> list[CachedModel]:
        """All cached models, by name."""
        found = []
        for folder in sorted(self.folder.glob("*-*")) if self.folder.is_dir() else []:
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                manifest = Manifest.read(folder)
            except RunError:
                manifest = None
            name = manifest.name if manifest else folder.name.rpartition("-")[0]
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            found.append(CachedModel(name, folder, size, manifest))
        return found

    def find(self, name: str) -> tuple[CachedModel, ...]:
        """All cached copies of the model called ``name``.

        Raises:
            InputError: There is none.
        """
        cached = self.list()
        if found := tuple(model for model in cached if model.name == name):
            return found
        raise InputError(
            f"no model called {name!r} is cached", hint=did_you_mean(name, sorted({model.name for model in cached}))
        )

    def remove(self, name: str) -> int:
        """Remove all cached copies of the model called ``name``.

        Returns:
            Bytes that were freed.

        Raises:
            InputError: There is none.
        """
        copies = self.find(name)
        with disk_errors(self.folder):
            for model in copies:
                with self._lock(model.path, silent):
                    _remove_folder(model.path)
        return sum(model.bytes for model in copies)

    def _folder(self, spec: ModelSpec) -> Path:
        return self.folder / f"{model_name(spec)}-{source_fingerprint(spec)}"

    def _build(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        staging = self.folder / f".{target.name}.partial"
        _remove_folder(staging)
        try:
            model = staging / "model"
            model.mkdir(parents=True)
            facts = fetch(spec, staging, model, progress)
            files = {
                file.relative_to(model).as_posix(): file.stat().st_size
                for file in sorted(model.rglob("*"))
                if file.is_file()
            }
            manifest = Manifest(
                name=model_name(spec),
                kind=spec.kind,
                source=source_of(spec),
                fingerprint=source_fingerprint(spec),
                licence=spec.licence,
                commit=facts.commit,
                sha256=facts.sha256,
                versions=facts.versions,
                tensors=facts.tensors,
                files=files,
            )
            manifest.write(model)
            if target.exists():  # a damaged copy
                _remove_folder(target)
            model.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def _lock(self, target: Path, progress: Progress) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / f".{target.name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            progress("wait for another pull of this model", 0, 0)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _remove_folder(folder: Path) -> None:
    """Remove a folder in one step for readers: it is renamed first, so that nobody finds half of it."""
    if not folder.exists():
        return
    if folder.name.startswith("."):
        shutil.rmtree(folder)
        return
    doomed = folder.with_name(f".{folder.name}.removed")
    if doomed.exists():
        shutil.rmtree(doomed)
    folder.replace(doomed)
    shutil.rmtree(doomed)
