"""The documents of a memory as token ids on disk, and where each stands."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.indexing.tokens.building import token_ids
from ragdecode.indexing.vectors.embedding import HASHES, new_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.indexing.memory.windows import Reading
    from ragdecode.indexing.store import CorpusTokenizer

VALUES, HEADS, STARTS, DOCUMENTS = "values.npy", "heads.npy", "starts.npy", "documents.jsonl"
#: values while their number is not known
_PART = "values.part"
#: bytes copied at once
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """Documents that have entries. An entry is a place in a document that a token follows.

    Attributes:
        hashes: Hash of each document's text ``[D, 16]``.
        starts: First entry of each document, and their number ``[D + 1]``.
        heads: First tokens of each document, which are no values ``[D, C]``.
        values: The token that follows, by entry ``[N]``.
    """

    hashes: NDArray[np.uint8]
    starts: NDArray[np.int64]
    heads: NDArray[np.int32]
    values: NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Map the files.

        Raises:
            OSError: A file is missing.
            ValueError: The files do not fit each other.
        """
        names = (HASHES, STARTS, HEADS, VALUES)
        hashes, starts, heads, values = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in names)
        fits = (
            (hashes.dtype, starts.dtype, heads.dtype, values.dtype) == (np.uint8, np.int64, np.int32, np.int32)
            and (hashes.ndim, starts.ndim, heads.ndim, values.ndim) == (2, 1, 2, 1)
            and hashes.shape == (len(starts) - 1, 16)
            and len(heads) == len(starts) - 1 > 0
            and int(starts[0]) == 0
            and int(starts[-1]) == len(values)
            and bool((starts[1:] > starts[:-1]).all())
        )
        if not fits:
            raise ValueError("the documents and entries of the memory do not fit each other")
        return cls(hashes, starts, heads, values)

    def ids(self, document: int, start: int = 0, stop: int | None = None) -> list[int]:
        """Token ids of a document, or of a stretch of it."""
        head = self.heads.shape[1]
        first, behind = int(self.starts[document]), int(self.starts[document + 1])
        stop = head + behind - first if stop is None else stop
        values = self.values[first + max(0, start - head) : min(behind, first + max(0, stop - head))]
        ids: list[int] = np.concatenate([self.heads[document, start:stop], values]).tolist()
        return ids

    def length(self, document: int) -> int:
        """Tokens of a document."""
        return int(self.starts[document + 1]) - int(self.starts[document]) + int(self.heads.shape[1])


def write(
    documents: Iterable[tuple[str, str, str]],
    folder: Path,
    tokenizer: CorpusTokenizer,
    reading: Reading,
    known: Callable[[bytes], Sequence[int] | None],
) -> Corpus | None:
    """Write the documents; one that is too short for an entry is left out, and so is a text that stands again.

    Args:
        documents: File, record and text of each.
        folder: Where the files go; old ones are replaced.
        tokenizer: Gives the ids.
        reading: Says which places have a key.
        known: Ids of a text by its hash, if they are known from before.

    Returns:
        What was written; None if there is no entry.

    Raises:
        OSError: The disk is full.
    """
    hashes: list[bytes] = []
    starts, heads = array("q", [0]), array("i")
    seen: set[bytes] = set()
    head = reading.context
    with (folder / _PART).open("wb") as values, (folder / DOCUMENTS).open("w", encoding="utf-8") as places:
        for source, record, text in documents:
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if key in seen:
                continue
            seen.add(key)
            before = known(key)
            ids = array("i", token_ids(text, tokenizer) if before is None else before)
            if not reading.entries(len(ids)):
                continue
            hashes.append(key)
            heads.extend(ids[:head])
            values.write(ids[head:].tobytes())
            starts.append(starts[-1] + len(ids) - head)
            places.write(json.dumps([source, record]) + "\n")
    if not hashes:
        (folder / _PART).unlink()
        return None
    np.save(folder / HASHES, np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 16), allow_pickle=False)
    np.save(folder / STARTS, np.frombuffer(starts, np.int64), allow_pickle=False)
    np.save(folder / HEADS, np.frombuffer(heads, np.int32).reshape(-1, head), allow_pickle=False)
    stored = new_array(folder / VALUES, "int32", (starts[-1],))
    for first, block in _blocks(folder / _PART):
        stored[first : first + len(block)] = block
    stored.flush()
    del stored
    (folder / _PART).unlink()
    return Corpus.open(folder)


def places(folder: Path) -> list[tuple[str, str]]:
    """File and record of each document, in order.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.
    """
    with (folder / DOCUMENTS).open(encoding="utf-8") as stream:
        return [(str(source), str(record)) for source, record in map(json.loads, stream)]


def _blocks(file: Path) -> Iterator[tuple[int, NDArray[Any]]]:
    with file.open("rb") as stream:
        first = 0
        while data := stream.read(_BLOCK):
            block = np.frombuffer(data, np.int32)
            yield first, block
            first += len(block)
