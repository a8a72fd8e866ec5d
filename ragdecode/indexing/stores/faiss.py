"""FAISS: ranking by the similarity of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from ragdecode.errors import InputError
from ragdecode.indexing.embedding import VECTORS, embed, unit
from ragdecode.indexing.store import Built, Need
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoder, Encoders, Probe


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
        """Embed the passages."""
        embedded = embed(passages, folder, self.settings.encoder, context)
        facts = {
            "encoder": embedded.encoder,
            "dimension": embedded.vectors.shape[1],
            "kind": self.settings.kind,
        }
        return Built(facts, embedded.summary)

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """A vector and a hash a passage; memory for the map's pages that are being written."""
        disk = passages * (4 * encoders(self.settings.encoder).dimension + 16)
        return Need(disk, min(disk, 1 << 28), passages)

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

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """Rows with the largest cosine, best first; ties with the k-th included."""
        import faiss
        import numpy as np

        if not probes:
            return []
        asked = unit(self.encoder().encode([probe.text for probe in probes], role="query"))
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
