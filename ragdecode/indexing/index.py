"""An index that is open for searching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.documents.passage import Passage
from ragdecode.errors import InputError, RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.building.continuing import difference
from ragdecode.indexing.files import FileEntry, SkippedEntry, read_flaws, read_listing
from ragdecode.indexing.hit import Hit, ranked
from ragdecode.indexing.manifest import REBUILD, Manifest
from ragdecode.indexing.passages import PassageTable
from ragdecode.indexing.store import Encoders, Probe, Progress, Searcher
from ragdecode.spec import registry
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.part import Part, PartKind

if TYPE_CHECKING:
    from ragdecode.indexing.memory.datastore import MemoryDatastore
    from ragdecode.indexing.tokens.datastore import TokenDatastore

#: a build may replace the data between our look at the manifest and that at the data: look again
_LOOKS = 3


def open_index(
    path: Path,
    spec: IndexSpec | None = None,
    *,
    encoders: Encoders | None = None,
    tokenizer_fingerprint: str | None = None,
) -> Index:
    """Open the index in a folder, after a quick look whether it is whole and the one that is meant.

    Args:
        path: Folder of the index.
        spec: What it must have been built from; not checked if left out.
        encoders: Gives sentence encoders, for stores that need one for queries.
        tokenizer_fingerprint: Tokenizer it must have been counted with; not checked if left out.

    Raises:
        InputError: There is no index, or it was built from another spec or tokenizer.
        RunError: It is damaged or of another format.
    """
    for _ in range(_LOOKS - 1):
        with suppress(RunError):
            return _open(path, spec, encoders, tokenizer_fingerprint)
    return _open(path, spec, encoders, tokenizer_fingerprint)


def _open(path: Path, spec: IndexSpec | None, encoders: Encoders | None, tokenizer: str | None) -> Index:
    manifest = _manifest(path)
    if spec is not None and (change := difference(manifest.spec, spec.model_dump(mode="json"))):
        raise InputError(f"the index {str(path)!r} was built from another spec: {change}", hint=REBUILD)
    if tokenizer is not None and manifest.tokenizer != tokenizer:
        raise InputError(
            f"the index {str(path)!r} was counted with another tokenizer: "
            f"fingerprint {manifest.tokenizer}, now {tokenizer}",
            hint=REBUILD,
        )
    problems = list(manifests.damage(path, manifest, hashes=False))
    if problems:
        raise RunError(f"the index {str(path)!r} is damaged: {'; '.join(problems[:5])}", hint=REBUILD)
    return Index(path, manifest, encoders, spec.stores if spec else ())


def _manifest(path: Path) -> Manifest:
    manifest = manifests.read(path)
    if manifest is None:
        raise InputError(f"there is no index in {str(path)!r}", hint="build it with 'ragdecode index build'")
    return manifest


def verify_index(path: Path, progress: Progress | None = None) -> list[str]:
    """Recompute all hashes of the index in a folder, even of one that is too damaged to be opened.

    Args:
        path: Its folder.
        progress: Called with ("verifying", bytes done, bytes in all).

    Returns:
        What is wrong with its files, one line each; empty if they are as they were built.

    Raises:
        InputError: There is no index.
        RunError: Its manifest is damaged, or of another format.
    """
    manifest = _manifest(path)
    total, done = sum(_sizes(manifest).values()), 0

    def hashed(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress("verifying", done, total)

    return [
        *manifests.damage(path, manifest, hashes=True, hashed=hashed),
        *manifests.listing_damage(path, manifest, hashed),
    ]


def _sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of each data file and of the list of files."""
    data = {name: entry.size for name, entry in manifest.data.items()}
    return {**data, manifest.listing.name: manifest.listing.size}


class Index:
    """A built index; use `open_index`.

    Attributes:
        path: Its folder.
        manifest: What it says about itself.
        passages: All passages, read from disk when asked for.
    """

    def __init__(self, path: Path, manifest: Manifest, encoders: Encoders | None, stores: Sequence[Part] = ()) -> None:
        self.path = path
        self.manifest = manifest
        self.passages = PassageTable(path / manifest.folder)
        if len(self.passages) != manifest.passages:
            raise RunError(
                f"the index {str(path)!r} is damaged: {len(self.passages)} passages, expected {manifest.passages}",
                hint=REBUILD,
            )
        self._encoders = encoders
        self._parts = {part.name: part for part in stores}  # as the manifest has them, with their secrets
        self._searchers: dict[str, Any] = {}

    @property
    def stores(self) -> tuple[str, ...]:
        """Names of its stores that find passages."""
        return tuple(name for name in self.manifest.stores if _finds_passages(name))

    def search(self, store: str, queries: Sequence[str | Probe], k: int) -> list[list[Hit]]:
        """The best k passages for each query, best first; equal scores in order of passage id.

        Raises:
            InputError: There is no such store, it finds no passages, or its encoder is not the one it was built with.
            RunError: It is damaged.
        """
        probes = [Probe(query) if isinstance(query, str) else query for query in queries]
        searcher = self.searcher(store)
        try:
            found = searcher.search(probes, k)
            return [ranked((self._hit(store, *one) for one in self._best(candidates, k)), k) for candidates in found]
        except IndexError as error:  # a row or column that a changed byte made up
            raise manifests.unreadable(self.path, f"store {store}: ", error) from error

    def passage(self, passage_id: str) -> Passage | None:
        """The passage of that id, looked for one by one."""
        return next((passage for passage in self.passages if passage.id == passage_id), None)

    def verify(self) -> list[str]:
        """Recompute all hashes; see `verify_index`."""
        problems = manifests.damage(self.path, self.manifest, hashes=True)
        return [*problems, *manifests.listing_damage(self.path, self.manifest)]

    def files(self) -> Iterator[FileEntry | SkippedEntry]:
        """All files of the corpus, read or skipped, in its order; read from disk one after the other.

        Raises:
            RunError: The list of files is missing or damaged.
        """
        return read_listing(self.path, self.manifest)

    def info(self) -> dict[str, Any]:
        """Facts for people and programs (JSON).

        Raises:
            RunError: Something was skipped, and the list that says what is missing or damaged.
        """
        manifest, sizes = self.manifest, _sizes(self.manifest)
        skipped, flaws = read_flaws(self.path, manifest)
        return {
            "path": str(self.path),
            "format": manifest.format,
            "version": manifest.version,
            "content": manifest.content,
            "files": manifest.listing.files,
            "skipped": [asdict(one) for one in skipped],
            "flaws": [asdict(one) for one in flaws],
            "passages": manifest.passages,
            "tokens": manifest.tokens,
            "bytes": sum(sizes.values()),
            "data": sizes,
            "tokenizer": manifest.tokenizer,
            "stores": {name: entry.model_dump(mode="json") for name, entry in manifest.stores.items()},
            "spec": manifest.spec,
        }

    def datastore(self, tokenizer_fingerprint: str) -> TokenDatastore:
        """The token datastore of the index, for drafters.

        Args:
            tokenizer_fingerprint: Tokenizer of the model for which drafts are wanted.

        Raises:
            InputError: There is none, or its ids are those of another tokenizer.
            RunError: It is damaged.
        """
        datastore: TokenDatastore = self._opened("tokens")
        built = self.manifest.stores["tokens"].facts.get("tokenizer")
        if built != tokenizer_fingerprint:
            raise InputError(
                f"the datastore of the index {str(self.path)!r} was built with another tokenizer than the model's: "
                f"fingerprint {built}, the model has {tokenizer_fingerprint}; its tokens mean nothing to the model",
                hint="leave index.tokenizer out, so that the pipeline's own model counts, or draft from something else",
            )
        return datastore

    def memory(self, model: str, tokenizer: str, dtype: str, key: str | None = None) -> MemoryDatastore:
        """The memory of the index.

        Args:
            model: Fingerprint of the model that asks it.
            tokenizer: Fingerprint of its tokenizer.
            dtype: Precision in which the model computes.
            key: The vector that it asks with; whatever the memory holds if left out.

        Raises:
            InputError: There is none, or it was made with something else.
            RunError: It is damaged.
        """
        memory: MemoryDatastore = self._opened("memory")
        memory.refuse_misfit(model, tokenizer, dtype, key)
        return memory

    def searcher(self, store: str) -> Searcher:
        """The open store of that name.

        Raises:
            InputError: There is no such store, or it finds no passages.
            RunError: It is damaged.
        """
        if not _finds_passages(store):
            found = f"search {' or '.join(self.stores)}" if self.stores else "add one that does, such as bm25"
            raise InputError(f"the store {store!r} finds no passages: it is for decoding", hint=found)
        searcher: Searcher = self._opened(store)
        return searcher

    def _opened(self, store: str) -> Any:
        if store not in self._searchers:
            entry = self.manifest.stores.get(store)
            if entry is None:
                raise InputError(
                    f"the index {str(self.path)!r} has no store {store!r}; it has {', '.join(self.manifest.stores)}",
                    hint=f"add {store} to index.stores and build again",
                )
            part = self._parts.get(store) or PartKind("store").validate({store: entry.settings})
            folder = self.path / self.manifest.folder / "stores" / store
            if not folder.is_dir():
                raise RunError(
                    f"the index {str(self.path)!r} has been rebuilt since it was opened", hint="open it again"
                )
            try:
                self._searchers[store] = part.build().open(folder, entry.facts, self._encoders or _no_encoders)
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise manifests.unreadable(self.path, f"store {store}: ", error) from error
        return self._searchers[store]

    def _best(self, candidates: list[tuple[int, float]], k: int) -> list[tuple[int, float]]:
        """The best k of the candidates, equal ones by passage id: many may tie, and few of them need be read."""
        if len(candidates) <= k:
            return candidates
        limit = candidates[k - 1][1]
        above = [one for one in candidates if one[1] > limit]
        equal = sorted((one for one in candidates if one[1] == limit), key=lambda one: self.passages.id(one[0]))
        return [*above, *equal[: k - len(above)]]

    def _hit(self, store: str, row: int, score: float) -> Hit:
        return Hit(self.passages[row], score, {store: score}, row)


def _finds_passages(store: str) -> bool:
    """Whether retrievers may search a store."""
    info = registry.find("store", store)
    return info is None or getattr(info.cls, "finds_passages", True)


def _no_encoders(model: Any) -> Any:
    raise RunError("the index was opened without encoders, and this store needs one for its queries")
