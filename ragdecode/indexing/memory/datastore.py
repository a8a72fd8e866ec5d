"""The open memory: what did the model compute when it read the corpus, and which token followed there?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ragdecode.errors import InputError
from ragdecode.indexing.memory import corpus as corpora
from ragdecode.indexing.memory.building import NORMS
from ragdecode.indexing.memory.corpus import Corpus
from ragdecode.indexing.memory.known import KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: candidates beyond those asked for: rounding may change the order of keys that are almost equally far
_SPARE = 32
#: numbers of keys that are compared at once with their queries
_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Neighbours:
    """The nearest entries of queries, nearest first; equally far ones in order of their rows.

    Attributes:
        rows: Entries ``[Q, k]``; -1 where a search that is not exact found fewer.
        distances: Squared Euclidean distances ``[Q, k]``, computed from the keys themselves; infinite there.
        values: Tokens that follow ``[Q, k]``; -1 there.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.floating]
    values: NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """Where an entry stands.

    Attributes:
        source: File of its document, relative to the corpus folder.
        record: Record of the file; empty if the file is one document.
        document: Number of the document in the memory.
        token: Place of the token that follows, in tokens of the document, from 0 on.
    """

    source: str
    record: str
    document: int
    token: int


class Search(Protocol):
    """Finds candidates."""

    def find(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows of candidates ``[Q, C]``, -1 where there are none."""
        ...


class MemoryDatastore:
    """Keys and the tokens that follow them, mapped from disk. It is read only, and threads may share it.

    Args:
        folder: Where the files are.
        facts: What the build left in the manifest.
        index: Folder of the index, for messages.
        device: Where keys are compared if all of them are; see `Blocked`.

    Attributes:
        keys: ``[N, W]`` at half precision.
        corpus: The documents.
        facts: What the keys were made with: ``model``, ``tokenizer``, ``dtype``, ``key`` and sizes.

    Raises:
        OSError: A file is missing.
        ValueError: The files do not fit each other, or the manifest.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], index: Path | None = None, device: str = "cpu") -> None:
        self.facts = dict(facts)
        self._folder, self._index, self._device = folder, index, device
        self.corpus = Corpus.open(folder)
        # copy on write: no page is ever written, but arrays that cannot be are refused by torch
        self.keys: NDArray[np.float16] = np.load(folder / KEYS, mmap_mode="c", allow_pickle=False)
        self._norms: NDArray[np.float32] = np.load(folder / NORMS, mmap_mode="c", allow_pickle=False)
        entries, width = int(facts["entries"]), int(facts["width"])
        fits = (
            self.keys.dtype == np.float16
            and self.keys.shape == (entries, width)
            and self._norms.shape == (entries,)
            and len(self.corpus.values) == entries
            and len(self.corpus.heads) == facts["documents"]
        )
        if not fits:
            raise ValueError(f"expected {entries} keys of {width} numbers, found shape {self.keys.shape}")

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def _search(self) -> Search:
        if self.facts["kind"] == "flat":
            from ragdecode.indexing.memory.nearest import Blocked

            return Blocked(self.keys, self._norms, self._device)
        from ragdecode.indexing.memory.faiss_index import FaissCandidates

        return FaissCandidates(self._folder, self.facts)

    def search(self, queries: NDArray[np.floating], k: int, leave_out: Sequence[range] | None = None) -> Neighbours:
        """The nearest k entries of each query, all queries in one search.

        Distances are computed from the keys as they are stored, in the precision of the queries (float32 at least),
        query by query: they do not depend on what else is asked.

        Args:
            queries: ``[Q, W]``.
            k: How many, not more than there are.
            leave_out: Entries that a query must not find, such as those around its own place in the corpus.

        Raises:
            InputError: There are fewer than k entries, or queries have another width.
        """
        if not 1 <= k <= len(self):
            raise InputError(
                f"{k} neighbours are asked for; the memory has {len(self)} entries", hint="lower k, or index more text"
            )
        if queries.ndim != 2 or queries.shape[1] != self.keys.shape[1]:
            raise InputError(f"queries of shape {queries.shape}; the memory's keys have {self.keys.shape[1]} numbers")
        asked = np.ascontiguousarray(queries, np.float32)
        spare = _SPARE + max((len(one) for one in leave_out or ()), default=0)
        rows = np.sort(self._search.find(asked, min(k + spare, len(self))), axis=1)  # equal ones in order of rows
        exact = queries if queries.dtype == np.float64 else asked
        far = np.concatenate([self._distances(exact[at], rows[at]) for at in _pieces(rows, self.keys.shape[1])])
        far[rows < 0] = np.inf
        for at, one in enumerate(leave_out or ()):
            far[at, (rows[at] >= one.start) & (rows[at] < one.stop)] = np.inf
        order = np.argsort(far, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(far, order, axis=1)
        found = np.where(np.isinf(distances), -1, np.take_along_axis(rows, order, axis=1))
        if found.shape[1] < k:
            missing = ((0, 0), (0, k - found.shape[1]))
            found = np.pad(found, missing, constant_values=-1)
            distances = np.pad(distances, missing, constant_values=np.inf)
        return Neighbours(found, distances, self.values(found))

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The token that follows each entry; -1 for -1."""
        found: NDArray[np.int64] = np.where(rows < 0, -1, self.corpus.values[np.maximum(rows, 0)].astype(np.int64))
        return found

    def own_keys(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Keys of entries ``[n, W]``."""
        keys: NDArray[np.float32] = self.keys[rows].astype(np.float32)
        return keys

    def on(self, device: str) -> MemoryDatastore:
        """The same memory, whose keys are compared on another device if all of them are; see `Blocked`."""
        other = copy(self)
        other._device = device
        other.__dict__.pop("_search", None)
        return other

    def distances(self, queries: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """Squared distances of queries ``[Q, W]`` to entries ``[Q, n]``."""
        exact = queries if queries.dtype == np.float64 else queries.astype(np.float32)
        pieces = [self._distances(exact[at], rows[at]) for at in _pieces(rows, self.keys.shape[1])]
        found: NDArray[np.floating] = np.concatenate(pieces) if pieces else np.empty(rows.shape, exact.dtype)
        return found

    def _distances(self, queries: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.floating]:
        apart = self.keys[np.maximum(rows, 0)].astype(queries.dtype)  # [Q, n, W]
        apart -= queries[:, None]
        apart *= apart
        far: NDArray[np.floating] = apart.sum(axis=-1)
        return far

    def following(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entry behind each entry in its document, as RetoMaton's pointers go; -1 at the end of one, and for -1."""
        behind = np.maximum(rows, 0) + 1
        last = self.corpus.starts[self._documents(np.maximum(rows, 0)) + 1] == behind
        found: NDArray[np.int64] = np.where((rows < 0) | last, -1, behind)
        return found

    def places(self, rows: Sequence[int]) -> list[Place]:
        """Where entries stand."""
        entries = np.asarray(rows, np.int64)
        documents = self._documents(entries)
        tokens = entries - self.corpus.starts[documents] + self.corpus.heads.shape[1]
        pairs = zip(documents.tolist(), tokens.tolist(), strict=True)
        sources = self._sources
        return [Place(sources[document][0], sources[document][1], document, token) for document, token in pairs]

    def around(self, row: int, before: int, behind: int) -> tuple[list[int], list[int]]:
        """Tokens that an entry's key has read last, and those from its value on."""
        document = int(self._documents(np.asarray([row], np.int64))[0])
        token = row - int(self.corpus.starts[document]) + self.corpus.heads.shape[1]
        last = self.corpus.length(document)
        return (
            self.corpus.ids(document, max(0, token - before), token),
            self.corpus.ids(document, token, min(last, token + behind)),
        )

    def of_sources(self, sources: Sequence[str]) -> list[range]:
        """Entries of the documents of these files; neighbouring documents are one range.

        Raises:
            InputError: A file has none.
        """
        known, wanted = self._sources, set(sources)
        if missing := wanted - {source for source, _ in known}:
            raise InputError(f"no document of the memory is of {', '.join(map(repr, sorted(missing)))}")
        found: list[range] = []
        for document, (source, _) in enumerate(known):
            if source in wanted:
                own = self.entries(document)
                joins = found and found[-1].stop == own.start
                found[-1:] = [range(found[-1].start, own.stop)] if joins else [*found[-1:], own]
        return found

    def entries(self, document: int) -> range:
        """Entries of a document."""
        return range(int(self.corpus.starts[document]), int(self.corpus.starts[document + 1]))

    def _documents(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.corpus.starts, rows, side="right") - 1

    @cached_property
    def _sources(self) -> list[tuple[str, str]]:
        return corpora.places(self._folder)

    def refuse_misfit(self, model: str, tokenizer: str, dtype: str, key: str | None = None) -> None:
        """Refuse a memory that another model has made.

        Args:
            model: Fingerprint of the model that asks.
            tokenizer: Fingerprint of its tokenizer.
            dtype: Precision in which it computes.
            key: The vector that it asks with; whatever the memory holds if left out.

        Raises:
            InputError: They are not those of the memory.
        """
        for name, told, now in (
            ("tokenizer", "with another tokenizer", tokenizer),
            ("model", "by another model", model),
            ("dtype", "in another precision", dtype),
            ("key", "of another vector", key),
        ):
            if now is not None and self.facts.get(name) != now:
                where = f" of the index {str(self._index)!r}" if self._index else ""
                raise InputError(
                    f"the memory{where} was made {told}: {name} {self.facts.get(name)}, now {now}; "
                    "its keys mean nothing to this model",
                    hint="build the index again with the model that decodes",
                )


def _pieces(rows: NDArray[np.int64], width: int) -> list[slice]:
    step = max(1, _AT_ONCE // max(1, rows.shape[1] * width))
    return [slice(first, first + step) for first in range(0, len(rows), step)]
