"""Vectors of all passages of an index, in a memory map: one service for every store that ranks by vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import RunError
from ragdecode.indexing.building.journal import Journal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext
    from ragdecode.indexing.vectors.plan import Known, Plan
    from ragdecode.spec.model import ModelSpec

VECTORS, HASHES = "vectors.npy", "hashes.npy"
#: what an interrupted build goes on with; it is no part of the finished index
JOURNAL = "embedding.journal"
#: bytes written at once where blocks cannot be reserved
_ZEROS = 1 << 20
#: vectors copied at once
_BLOCK = 4096


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

    A journal beside the maps says which batches are done. If the build is killed, the next one embeds the rest, in
    the same batches, so that the vectors are those of an unbroken build to the last bit.

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
    from ragdecode.indexing.vectors.plan import Plan, checksum, previous_known, salvaged_known

    encoder = context.encoders(model)
    head: dict[str, Any] = {"encoder": encoder.fingerprint, "dimension": encoder.dimension}
    found = (previous_known(context.previous, head), *(salvaged_known(path, head) for path in context.salvage))
    known = [one for one in found if one is not None]
    plan = Plan.of(passages, known)
    vectors, done = _begin(folder, {**head, "plan": plan.digest}, plan)
    _take_over(vectors, plan, known)
    resumed = finished = sum(len(plan.batch(number)) for number in done)
    context.resumed(resumed)
    journal = Journal(folder / JOURNAL)
    left = [number for number in range(plan.batches) if number not in done]
    texts = ([passages[row].text for row in plan.batch(number)] for number in left)
    encoded = context.encode(model, texts) if context.encode else map(encoder.encode, texts)
    for number, raw in zip(left, encoded, strict=True):
        rows = plan.batch(number)
        vectors[rows] = _checked(raw, len(rows), encoder.dimension)
        journal.add({"batch": number, "rows": rows, "crc": checksum(vectors[rows])})
        finished += len(rows)
        context.progress(stage, finished, len(plan.waiting))
    for copies in _blocks(plan.copies):
        vectors[copies] = vectors[plan.original[copies]]
    vectors.flush()
    return Embedded(vectors, encoder.fingerprint, _summary(plan, finished - resumed, resumed))


def _begin(folder: Path, head: dict[str, Any], plan: Plan) -> tuple[np.memmap[Any, Any], set[int]]:
    """The map of the vectors, and the batches in it that are done."""
    import numpy as np

    from ragdecode.indexing.vectors.plan import holds

    journal, shape = Journal(folder / JOURNAL), (len(plan.hashes), head["dimension"])
    records = journal.read()
    if records and records[0] == head:
        with suppress(FileNotFoundError, ValueError):
            vectors = np.lib.format.open_memmap(folder / VECTORS, "r+")
            if vectors.shape == shape and vectors.dtype == np.float32:
                _reserve(folder / VECTORS, vectors.nbytes)
                return vectors, {record["batch"] for record in records[1:] if holds(vectors, record)}
    (folder / JOURNAL).unlink(missing_ok=True)
    np.save(folder / HASHES, plan.hashes.view("V16").reshape(-1), allow_pickle=False)
    vectors = new_array(folder / VECTORS, "float32", shape)
    journal.add(head)
    return vectors, set()


def _take_over(vectors: np.memmap[Any, Any], plan: Plan, known: Sequence[Known]) -> None:
    """Copy what other builds have embedded."""
    import numpy as np

    for number, one in enumerate(known):
        for rows in _blocks(np.flatnonzero(plan.source == number)):
            vectors[rows] = one.vectors[plan.source_row[rows]]


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (rows[first : first + _BLOCK] for first in range(0, len(rows), _BLOCK))


def _checked(raw: NDArray[np.float32], rows: int, dimension: int) -> NDArray[np.float32]:
    if raw.shape != (rows, dimension):
        raise RunError(f"the encoder gave vectors of shape {raw.shape} for {rows} texts, expected {(rows, dimension)}")
    return unit(raw)


def _summary(plan: Plan, embedded: int, resumed: int) -> str:
    before = f", {resumed} by an interrupted build" if resumed else ""
    taken = int((plan.source >= 0).sum())
    return f"{embedded} embedded{before}, {taken} taken over, {len(plan.copies)} repeated"


def new_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory map with its blocks on disk: where they are missing, a write to a map kills the process.

    Raises:
        OSError: The disk is full.
    """
    import numpy as np

    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", dtype, shape)
    _reserve(path, array.nbytes, fresh=True)
    return array


def _reserve(path: Path, content: int, *, fresh: bool = False) -> None:
    """Give a file its blocks on disk; ``content`` bytes at its end may be overwritten with zeros if ``fresh``."""
    with path.open("r+b") as stream:
        size = path.stat().st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        elif fresh:
            stream.seek(size - content)
            for start in range(0, content, _ZEROS):
                stream.write(bytes(min(_ZEROS, content - start)))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors ``[n, d]`` at length 1; a zero vector stays zero."""
    import numpy as np

    if not np.isfinite(vectors).all():
        raise RunError("the encoder gave a vector that is not finite")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), np.float32)
