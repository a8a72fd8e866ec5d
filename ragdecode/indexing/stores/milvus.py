"""Milvus: ranking by the similarity of vectors, on a server or cluster, or in an embedded file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from ragdecode.indexing.milvus.server import MilvusAddress
from ragdecode.indexing.store import Built, Need, RanksBy
from ragdecode.indexing.vectors.embedding import VECTORS, embed
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders
    from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher

#: rows asked for beyond k, so that ties with the k-th are seen
_MORE = 16


class MilvusSettings(MilvusAddress):
    """Server or file, encoder and kind of index."""

    encoder: Annotated[ModelSpec, Reference("models")] = Field(default="minilm", validate_default=True)
    """Sentence encoder of passages and queries."""
    kind: Literal["auto", "flat", "hnsw", "ivf_flat"] = "auto"
    """Index that Milvus builds: ``flat`` compares with every passage, ``hnsw`` walks a graph of neighbours,
    ``ivf_flat`` looks into the nearest of many lists, ``auto`` leaves it to the server."""

    @field_validator("encoder")
    @classmethod
    def _encodes(cls, encoder: ModelSpec) -> ModelSpec:
        if encoder.kind != "encoder":
            raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; vectors need one of kind encoder")
        return encoder

    def index(self, passages: int) -> dict[str, Any]:
        """Arguments of the index over so many passages; the vectors have length 1, so IP is the cosine."""
        params = {"hnsw": {"M": 32, "efConstruction": 200}, "ivf_flat": {"nlist": _lists(passages)}}
        kind = {"auto": "AUTOINDEX"}.get(self.kind, self.kind.upper())
        return {"index_type": kind, "metric_type": "IP", "params": params.get(self.kind, {})}

    def looks(self, passages: int, k: int) -> dict[str, int]:
        """How far a query looks."""
        if self.kind == "hnsw":
            return {"ef": max(128, 2 * k)}
        return {"nprobe": max(16, _lists(passages) // 16)} if self.kind == "ivf_flat" else {}


@register("store", "milvus", MilvusSettings)
class MilvusStore:
    """Ranking by the cosine of sentence vectors, searched by a Milvus server, cluster or embedded file."""

    ranks_by: RanksBy = "vectors"

    def __init__(self, settings: MilvusSettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Embed the passages into the index's folder and put the vectors into a new collection."""
        from ragdecode.indexing.milvus.collection import building

        with building(self.settings, "milvus", context) as collection:  # before hours of embedding
            embedded = embed(passages, folder, self.settings.encoder, context, "embed")
            dimension = embedded.vectors.shape[1]
            total = len(passages)
            collection.fill(
                iter(embedded.vectors), total, self.settings.index(total), context, "milvus", dimension=dimension
            )
        facts = {"encoder": embedded.encoder, "dimension": dimension, "elsewhere": collection.facts}
        return Built(facts, f"{embedded.summary}; collection {collection.name}")

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """A vector and a hash a passage, in a file twice."""
        dimension = encoders(self.settings.encoder).dimension
        disk = passages * (4 * dimension + 16)
        return Need(disk * (2 if self.settings.embedded else 1), min(disk, 1 << 28), passages)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether the encoder is the one that made the vectors, and a local file is still there."""
        from ragdecode.indexing.milvus.collection import gone

        return not gone(self.settings, facts) and bool(encoders(self.settings.encoder).fingerprint == facts["encoder"])

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> FaissSearcher:
        """Connect and load the collection; Milvus proposes rows, and the vectors on disk give their exact scores."""
        import numpy as np

        from ragdecode.indexing.milvus.collection import opened
        from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher

        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        collection = opened(self.settings, facts)

        def candidates(asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
            depth = min(k + _MORE, len(vectors))
            found = collection.search(list(asked), depth, self.settings.looks(len(vectors), depth))
            rows = np.full((len(asked), depth), -1, np.int64)
            for at, hits in enumerate(found):
                rows[at, : len(hits)] = [row for row, _ in hits]
            return rows

        return FaissSearcher(vectors, candidates, self.settings.encoder, str(facts["encoder"]), encoders)

    def discard(self, facts: Mapping[str, Any]) -> None:
        """Remove the collection."""
        from ragdecode.indexing.milvus.collection import discard

        discard(self.settings, facts)


def _lists(passages: int) -> int:
    """Lists of an ``ivf_flat`` index: four times the root, with some forty passages each at least."""
    return int(max(1, min(4 * passages**0.5, passages / 40)))
