"""Which passages must be embedded, in which batches, and whose vectors are at hand: the same at every try."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.indexing.building.journal import Journal
from ragdecode.indexing.vectors.embedding import HASHES, JOURNAL, VECTORS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import Previous

#: passages given to the encoder at once
BATCH = 64


@dataclass(frozen=True)
class Known:
    """Vectors of another build with the same encoder.

    Attributes:
        vectors: ``[n, dimension]``.
        hashes: Hashes of the texts, as two numbers each ``[m, 2]``.
        rows: Row of each text's vector ``[m]``.
    """

    vectors: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    rows: NDArray[np.int64]

    def find(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Row of the vector of each hash ``[n]``; -1 where it is not known."""
        found = np.full(len(wanted), -1, np.int64)
        if not len(self.hashes):
            return found
        order = np.argsort(self.hashes[:, 0], kind="stable")
        place = np.searchsorted(self.hashes[order, 0], wanted[:, 0])
        candidates = order[np.minimum(place, len(order) - 1)]
        same = (self.hashes[candidates] == wanted).all(axis=1)
        found[same] = self.rows[candidates[same]]
        return found


@dataclass(frozen=True)
class Plan:
    """What is done with each row.

    Attributes:
        hashes: Hashes of the texts, as two numbers each ``[n, 2]``.
        original: First row with the same text ``[n]``.
        source: For each first row the number of the `Known` that has its vector, else -1 ``[n]``.
        source_row: The vector's row there ``[n]``.
        waiting: Rows to embed, long texts first ``[m]``.
    """

    hashes: NDArray[np.uint64]
    original: NDArray[np.int64]
    source: NDArray[np.int8]
    source_row: NDArray[np.int64]
    waiting: NDArray[np.int64]

    @classmethod
    def of(cls, passages: PassageTable, known: list[Known]) -> Plan:
        """Look at all passages once."""
        hashes = np.empty((len(passages), 2), np.uint64)
        lengths = np.empty(len(passages), np.int64)
        for row, passage in enumerate(passages):
            hashes[row] = np.frombuffer(passage.content_hash, np.uint64)
            lengths[row] = len(passage.text)
        original = _originals(hashes)
        first = original == np.arange(len(hashes))
        source = np.full(len(hashes), -1, np.int8)
        source_row = np.full(len(hashes), -1, np.int64)
        for number, one in enumerate(known):
            found = one.find(hashes)
            new = first & (source < 0) & (found >= 0)
            source[new], source_row[new] = number, found[new]
        left = np.flatnonzero(first & (source < 0))
        # texts of like length together: less padding; the longest first, so that memory runs out at once or never
        return cls(hashes, original, source, source_row, left[np.lexsort((left, lengths[left]))[::-1]])

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.waiting) // BATCH)

    def batch(self, number: int) -> list[int]:
        """Rows that are embedded together."""
        rows: list[int] = self.waiting[number * BATCH : (number + 1) * BATCH].tolist()
        return rows

    @property
    def copies(self) -> NDArray[np.int64]:
        """Rows whose text stands in an earlier row too."""
        return np.flatnonzero(self.original != np.arange(len(self.original)))

    @property
    def digest(self) -> str:
        """Changes with any text, and with the batches."""
        digest = hashlib.sha256(self.hashes.tobytes())
        digest.update(self.waiting.tobytes())
        digest.update(str(BATCH).encode())
        return digest.hexdigest()


def previous_known(previous: Previous | None, head: Mapping[str, Any]) -> Known | None:
    """Vectors of the index that is replaced; None if another encoder made them."""
    if previous is None or previous.facts.get("encoder") != head["encoder"]:
        return None
    try:
        vectors = np.load(previous.folder / VECTORS, mmap_mode="r", allow_pickle=False)
        hashes = load_hashes(previous.folder)
    except (OSError, ValueError):  # a store need not keep them; damage is found when they are not used too
        return None
    return Known(vectors, hashes, np.arange(len(hashes)))


def salvaged_known(folder: Path, head: Mapping[str, Any]) -> Known | None:
    """Vectors of a store that was not finished, as far as they had come; None if there is nothing to be had."""
    records = Journal(folder / JOURNAL).read()
    if not records or any(records[0].get(name) != head[name] for name in ("encoder", "dimension")):
        return None
    try:
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        hashes = load_hashes(folder)
    except (OSError, ValueError):  # killed before there was anything
        return None
    done = [record["rows"] for record in records[1:] if holds(vectors, record)]
    rows = np.asarray([row for batch in done for row in batch], np.int64)
    return Known(vectors, hashes[rows], rows)


def holds(vectors: NDArray[np.float32], record: Mapping[str, Any]) -> bool:
    """Whether the vectors of a batch are those that the journal speaks of."""
    return bool(checksum(vectors[record["rows"]]) == record["crc"])


def checksum(vectors: NDArray[np.float32]) -> int:
    """Of some vectors."""
    return zlib.crc32(np.ascontiguousarray(vectors).tobytes())


def load_hashes(folder: Path) -> NDArray[np.uint64]:
    """Hashes of a store's texts, as two numbers each ``[n, 2]``."""
    hashes: NDArray[Any] = np.load(folder / HASHES, allow_pickle=False)
    return hashes.view(np.uint64).reshape(-1, 2)


def _originals(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The first row with the same hash, for each row."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal hashes in order of their rows
    ordered = hashes[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    original = np.empty(len(order), np.int64)
    original[order] = order[np.flatnonzero(first)[np.cumsum(first) - 1]]
    return original
