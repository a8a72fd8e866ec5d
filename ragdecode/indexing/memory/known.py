"""Keys that other builds have computed: the index that is replaced, and builds that were interrupted."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.indexing.building.journal import Journal
from ragdecode.indexing.memory.corpus import Corpus
from ragdecode.indexing.vectors.embedding import JOURNAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.indexing.store import BuildContext

KEYS = "keys.npy"


@dataclass(frozen=True)
class Known:
    """Documents of another build, with their keys.

    Attributes:
        corpus: Its documents.
        keys: ``[N, W]``.
        rows: Number of each document that is there whole, by the hash of its text.
    """

    corpus: Corpus
    keys: NDArray[np.float16]
    rows: Mapping[bytes, int]

    def entries(self, document: int) -> NDArray[np.float16]:
        """Keys of a document ``[n, W]``."""
        return self.keys[int(self.corpus.starts[document]) : int(self.corpus.starts[document + 1])]


def known_of(context: BuildContext, head: Mapping[str, Any]) -> Iterator[Known]:
    """What can be taken over; only what was made with the same facts."""
    previous = context.previous
    if previous and _agree(previous.facts, head) and (found := _open(previous.folder)):
        yield Known(*found, {text.tobytes(): row for row, text in enumerate(found[0].hashes)})
    for folder in context.salvage:
        records = Journal(folder / JOURNAL).read()
        if records and _agree(records[0], head) and (found := _open(folder)):
            yield Known(*found, _whole(*found, records[1:]))


def _agree(facts: Mapping[str, Any], head: Mapping[str, Any]) -> bool:
    return all(facts.get(name) == value for name, value in head.items())


def _open(folder: Path) -> tuple[Corpus, NDArray[np.float16]] | None:
    """Documents and keys; None if they are not all there, or do not fit each other."""
    try:
        corpus = Corpus.open(folder)
        keys = np.load(folder / KEYS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return (corpus, keys) if keys.ndim == 2 and len(keys) == len(corpus.values) else None


def _whole(corpus: Corpus, keys: NDArray[np.float16], records: list[dict[str, Any]]) -> dict[bytes, int]:
    """Documents all of whose keys are in passes that are as the journal says."""
    there = np.zeros(len(keys), bool)
    for record in records:
        crc = 0
        for start, stop in record["ranges"]:
            crc = zlib.crc32(np.ascontiguousarray(keys[start:stop]).tobytes(), crc)
        if crc == record["crc"]:
            for start, stop in record["ranges"]:
                there[start:stop] = True
    whole = np.logical_and.reduceat(there, corpus.starts[:-1])
    return {corpus.hashes[row].tobytes(): int(row) for row in np.flatnonzero(whole)}
