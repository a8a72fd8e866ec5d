"""FAISS: ranking by the similarity of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ragdecode.indexing.store import Built, Need, RanksBy
from ragdecode.indexing.vectors.embedding import VECTORS, embed
from ragdecode.spec.model import Dtype, LongInputs, ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders
    from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher

#: settings that belong to some kinds only
KINDS_OF = {
    "lists": ("ivf", "pq"),
    "probes": ("ivf", "pq"),
    "code_bytes": ("pq",),
    "refine": ("pq",),
    "neighbours": ("hnsw",),
    "build_depth": ("hnsw",),
    "search_depth": ("hnsw",),
}


class FaissSettings(Settings):
    """Encoder and kind of index."""

    encoder: Annotated[ModelSpec, Reference("models")] = Field(default="minilm", validate_default=True)
    """Sentence encoder of passages and queries."""
    dtype: Dtype | None = None
    """Precision in which the encoder computes; as the model's file says if left out."""
    long: LongInputs | None = None
    """What becomes of texts longer than the encoder's window; as the model's file says if left out."""
    kind: Literal["auto", "flat", "ivf", "hnsw", "pq"] = "auto"
    """``flat`` compares the query with every passage: exact. ``ivf`` looks into the nearest of many lists, ``hnsw``
    walks a graph of neighbours, ``pq`` is ``ivf`` over short codes. ``auto``: flat up to 50,000 passages, hnsw up to
    1,000,000, pq above."""
    lists: int | None = Field(default=None, ge=1, le=1 << 20)
    """Lists that the passages are sorted into; ``ivf`` and ``pq``. Four times the root of their number if left out."""
    probes: int | None = Field(default=None, ge=1, le=1 << 20)
    """Lists that a query looks into; ``ivf`` and ``pq``. A sixteenth of all, but at least 32, if left out."""
    code_bytes: int | None = Field(default=None, ge=1, le=1024)
    """Bytes of a passage's code, a divisor of the dimension; ``pq``. An eighth of the dimension if left out."""
    refine: int | None = Field(default=None, ge=1, le=1000)
    """Candidates, as a multiple of the passages asked for, that are compared by their whole vectors; ``pq``. 10 if
    left out."""
    neighbours: int | None = Field(default=None, ge=4, le=512)
    """Neighbours of a passage in the graph; ``hnsw``. 32 if left out."""
    build_depth: int | None = Field(default=None, ge=4, le=10_000)
    """Candidates for neighbours while the graph is built; ``hnsw``. 100 if left out."""
    search_depth: int | None = Field(default=None, ge=1, le=100_000)
    """Candidates that a query keeps on its walk; ``hnsw``. 128 if left out, and never fewer than are asked for."""

    @field_validator("encoder")
    @classmethod
    def _encodes(cls, encoder: ModelSpec) -> ModelSpec:
        if encoder.kind != "encoder":
            raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; vectors need one of kind encoder")
        return encoder

    @model_validator(mode="after")
    def _belongs(self) -> FaissSettings:
        for name, kinds in KINDS_OF.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name} has no place in kind {self.kind}; it belongs to {' and '.join(kinds)}")
        return self

    @property
    def model(self) -> ModelSpec:
        """The encoder's model, with this store's precision and treatment of long texts."""
        changes = {name: value for name in ("dtype", "long") if (value := getattr(self, name)) is not None}
        return self.encoder.model_copy(update=changes)


@register("store", "faiss", FaissSettings)
class FaissStore:
    """Ranking by the cosine of sentence vectors, searched with FAISS."""

    ranks_by: RanksBy = "vectors"

    def __init__(self, settings: FaissSettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Embed the passages, then build what finds them quickly from the vectors on disk."""
        from ragdecode.indexing.vectors import faiss_kinds

        dimension = context.encoders(self.settings.model).dimension
        plan = faiss_kinds.plan(self.settings, len(passages), dimension)
        embedded = embed(passages, folder, self.settings.model, context)
        facts = {"encoder": embedded.encoder, "dimension": dimension, **plan.facts}
        summary = f"{embedded.summary}, {plan.summary}"
        del embedded  # with its memory map: what follows reads the file piece by piece
        faiss_kinds.build(plan, folder, VECTORS, lambda done: context.progress("faiss", done, len(passages)))
        return Built(facts, summary)

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """A vector and a hash a passage, and what the kind of index adds to them."""
        from ragdecode.indexing.vectors import faiss_kinds

        dimension = encoders(self.settings.model).dimension
        disk = passages * (4 * dimension + 16)
        plan = faiss_kinds.plan(self.settings, passages, dimension)
        extra = faiss_kinds.size(plan, passages, dimension)
        # the map's pages that are being written; then the index in memory and the sample that it is trained on
        return Need(disk + extra, max(min(disk, 1 << 28), extra + faiss_kinds.workspace(plan, dimension)), passages)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether the encoder is the one that made the vectors."""
        return bool(encoders(self.settings.model).fingerprint == facts["encoder"])

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> FaissSearcher:
        """Map the files; the encoder is loaded with the first query."""
        import numpy as np

        from ragdecode.indexing.vectors import faiss_kinds
        from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher

        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        candidates = faiss_kinds.candidates(folder, facts)
        return FaissSearcher(vectors, candidates, self.settings.model, str(facts["encoder"]), encoders)
