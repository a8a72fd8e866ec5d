"""FAISS: ranking by the similarity of vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.store import Built
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoder, Encoders, Previous

VECTORS, HASHES = "vectors.npy", "hashes.npy"
#: passages given to the encoder at once
BATCH = 64
#: bytes written at once where blocks cannot be reserved
_ZEROS = 1 << 20


class FaissSettings(Settings):
    """Encoder and kind of index."""

    encoder: Annotated[ModelSpec, Reference("models")] = Field(default="minilm", validate_default=True)
    """Sentence encoder of passages and queries."""
    kind: Literal["flat"] = "flat"
    """``flat`` compares the query with every passage: exact."""

    @field_validator("encoder")
    @classmethod
    def _encodes(cls, encoder: ModelSpec) -> ModelSpec:
        if encoder.kind != "encoder":
            raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; vectors need one of kind encoder")
        return encoder


@register("store", "faiss", FaissSettings)
class FaissStore:
    """Ranking by the cosine of sentence vectors, searched with FAISS."""

    def __init__(self, settings: FaissSettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Embed the passages in batches into a memory map; equal texts, and texts known before, only once."""
        import numpy as np

        encoder = context.encoders(self.settings.encoder)
        hashes = _new_array(folder / HASHES, "V16", (len(passages),))
        vectors = _new_array(folder / VECTORS, "float32", (len(passages), encoder.dimension))
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
            vectors[rows] = _unit(encoder.encode([passages[row].text for row in rows]))
            context.progress("faiss", done, len(waiting))
        for row, original in copies:
            vectors[row] = vectors[original]
        vectors.flush()
        hashes.flush()
        facts = {"encoder": encoder.fingerprint, "dimension": encoder.dimension, "kind": self.settings.kind}
        return Built(facts, f"{len(waiting)} embedded, {reused} taken over, {len(copies)} repeated")

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether the encoder is the one that made the vectors."""
        return bool(encoders(self.settings.encoder).fingerprint == facts["encoder"])

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> FaissSearcher:
        """Map the vectors; the encoder is loaded with the first query."""
        import numpy as np

        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        return FaissSearcher(vectors, self.settings.encoder, str(facts["encoder"]), encoders)


class FaissSearcher:
    """An open flat store."""

    def __init__(self, vectors: NDArray[np.float32], model: ModelSpec, fingerprint: str, encoders: Encoders) -> None:
        self.vectors = vectors
        self.model = model
        self.fingerprint = fingerprint
        self.encoders = encoders
        self._encoder: Encoder | None = None

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """Rows with the largest cosine, best first; ties with the k-th included."""
        import faiss
        import numpy as np

        if not queries:
            return []
        asked = _unit(self.encoder().encode(list(queries), role="query"))
        total = len(self.vectors)
        depth = min(k + 1, total)
        while True:
            scores, rows = faiss.knn(asked, self.vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
            if depth == total or k == 0 or bool((scores[:, -1] < scores[:, min(k, depth) - 1]).all()):
                break
            depth = min(2 * depth, total)
        found = []
        for query, candidates in zip(asked, rows, strict=True):
            # once more, one by one: FAISS sums in another order when it has many queries
            exact = np.sum(self.vectors[candidates].astype(np.float64) * query, axis=1).astype(np.float32)
            order = np.argsort(-exact, kind="stable")
            limit = exact[order[min(k, depth) - 1]] if k else np.inf
            found.append([(int(candidates[at]), float(exact[at])) for at in order if exact[at] >= limit])
        return found

    def encoder(self) -> Encoder:
        """The encoder, checked against the one that made the vectors.

        Raises:
            InputError: It is another one.
        """
        if self._encoder is None:
            encoder = self.encoders(self.model)
            if encoder.fingerprint != self.fingerprint:
                raise InputError(
                    f"the index was built with another encoder: fingerprint {self.fingerprint}, "
                    f"now {encoder.fingerprint}",
                    hint="rebuild it with 'ragdecode index build'",
                    component="store faiss",
                )
            self._encoder = encoder
        return self._encoder


def _new_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
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


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors ``[n, d]`` at length 1; a zero vector stays zero."""
    import numpy as np

    if not np.isfinite(vectors).all():
        raise RunError("the encoder gave a vector that is not finite", component="store faiss")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), np.float32)
