"""Vectors of all passages of an index, in a memory map: one service for every store that ranks by vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoder, Previous
    from ragdecode.spec.model import ModelSpec

VECTORS, HASHES = "vectors.npy", "hashes.npy"
#: passages given to the encoder at once
BATCH = 64
#: bytes written at once where blocks cannot be reserved
_ZEROS = 1 << 20


@dataclass(frozen=True)
class Embedded:
    """All passages as vectors.

    Attributes:
        vectors: Memory map, of length 1 ``[passages, dimension]``.
        encoder: Fingerprint of the encoder.
        summary: What was done, for people.
    """

    vectors: NDArray[np.float32]
    encoder: str
    summary: str


def embed(
    passages: PassageTable, folder: Path, model: ModelSpec, context: BuildContext, stage: str = "faiss"
) -> Embedded:
    """Embed passages in batches into memory maps in ``folder``; equal texts, and texts known before, only once.

    Args:
        passages: All passages of the index.
        folder: Where the maps are written: `VECTORS` and `HASHES`.
        model: The encoder's model.
        context: The build.
        stage: Name under which progress is told.

    Raises:
        OSError: The disk is full.
        RunError: The encoder gave something that is no vector.
    """
    import numpy as np

    encoder = context.encoders(model)
    hashes = new_array(folder / HASHES, "V16", (len(passages),))
    vectors = new_array(folder / VECTORS, "float32", (len(passages), encoder.dimension))
    old, known = _known(context.previous, encoder)
    place: dict[bytes, int] = {}  # content hash -> row of this build that holds, or will hold, its vector
    copies: list[tuple[int, int]] = []
    waiting: list[tuple[int, int]] = []
    reused = 0
    for row, passage in enumerate(passages):
        content = passage.content_hash
        hashes[row] = np.void(content)
        if content in place:
            copies.append((row, place[content]))
            continue
        place[content] = row
        if content in known and old is not None:
            vectors[row] = old[known[content]]
            reused += 1
        else:
            waiting.append((len(passage.text), row))
    waiting.sort(reverse=True)  # texts of like length together: less padding
    for done, rows in _batches([row for _, row in waiting]):
        vectors[rows] = unit(encoder.encode([passages[row].text for row in rows]))
        context.progress(stage, done, len(waiting))
    for row, original in copies:
        vectors[row] = vectors[original]
    vectors.flush()
    hashes.flush()
    summary = f"{len(waiting)} embedded, {reused} taken over, {len(copies)} repeated"
    return Embedded(vectors, encoder.fingerprint, summary)


def new_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory map with its blocks on disk: where they are missing, a write to a map kills the process.

    Raises:
        OSError: The disk is full.
    """
    import numpy as np

    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as stream:
        size = path.stat().st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.seek(size - array.nbytes)
            for start in range(0, array.nbytes, _ZEROS):
                stream.write(bytes(min(_ZEROS, array.nbytes - start)))
    return array


def _known(previous: Previous | None, encoder: Encoder) -> tuple[NDArray[np.float32] | None, dict[bytes, int]]:
    """Vectors of the index that is replaced, and where to find a text's, if the encoder is the same."""
    import numpy as np

    if previous is None or previous.facts.get("encoder") != encoder.fingerprint:
        return None, {}
    hashes = np.load(previous.folder / HASHES, mmap_mode="r", allow_pickle=False)
    vectors = np.load(previous.folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return vectors, {bytes(content): row for row, content in enumerate(hashes)}


def _batches(rows: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    for first in range(0, len(rows), BATCH):
        batch = list(rows[first : first + BATCH])
        yield first + len(batch), batch


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors ``[n, d]`` at length 1; a zero vector stays zero."""
    import numpy as np

    if not np.isfinite(vectors).all():
        raise RunError("the encoder gave a vector that is not finite")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), np.float32)
