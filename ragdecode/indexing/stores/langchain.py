"""Any LangChain vector store, by the name of its class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ragdecode.indexing.store import Built, Need, RanksBy
from ragdecode.indexing.vectors.embedding import VECTORS, embed
from ragdecode.spec.class_path import check_class
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders
    from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher


class LangChainStoreSettings(Settings):
    """Class, its arguments, and where its data live."""

    vector_store: str = Field(min_length=1)
    """Class that derives from LangChain's ``VectorStore``: ``package.module.Class``, or a name in
    ``langchain_community.vectorstores``."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class. They stand in the index's manifest, so no secrets: leave those to the
    environment variables that the class reads."""
    encoder: Annotated[ModelSpec, Reference("models")] = Field(default="minilm", validate_default=True)
    """Sentence encoder of passages and queries; the class gets it as its embeddings."""
    persistent: Literal["auto"] | bool = "auto"
    """``true``: the class keeps its data in a database, filled once by a build. ``false``: it keeps them in memory and
    is filled when the index is opened. ``auto``: by the class; ``false`` for those known to live in memory."""
    trust: bool = False
    """Also classes of packages that are not LangChain's. It runs that package's code."""

    @field_validator("encoder")
    @classmethod
    def _encodes(cls, encoder: ModelSpec) -> ModelSpec:
        if encoder.kind != "encoder":
            raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; vectors need one of kind encoder")
        return encoder

    @model_validator(mode="after")
    def _allowed(self) -> LangChainStoreSettings:
        check_class("vector_store", self.vector_store, self.arguments, trust=self.trust)
        return self


@register("store", "langchain", LangChainStoreSettings)
class LangChainStore:
    """Ranking by sentence vectors in any LangChain ``VectorStore``."""

    ranks_by: RanksBy = "vectors"

    def __init__(self, settings: LangChainStoreSettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Embed the passages into the index's folder; put them into the vector store if it keeps them."""
        from ragdecode.indexing.langchain.store import Shelf, open_shelf

        shelf = Shelf.after(context, len(passages))
        embedded = embed(passages, folder, self.settings.encoder, context, "embed")
        kept = open_shelf(self.settings, shelf, passages.texts(), embedded.vectors, context.encoders)
        if kept.persistent:
            kept.fill(passages, lambda done: context.progress("langchain", done, len(passages)))
        facts: dict[str, Any] = {"encoder": embedded.encoder, "dimension": embedded.vectors.shape[1]}
        if kept.persistent:
            facts["elsewhere"] = shelf.facts
        return Built(facts, f"{embedded.summary}; {kept.name}{'' if kept.persistent else ', filled when it is opened'}")

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """A vector and a hash a passage here; what the class takes it alone knows."""
        disk = passages * (4 * encoders(self.settings.encoder).dimension + 16)
        return Need(disk, min(disk, 1 << 28), passages)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether the encoder is the one that made the vectors."""
        return bool(encoders(self.settings.encoder).fingerprint == facts["encoder"])

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> FaissSearcher:
        """Make the vector store, fill it if it lives in memory; it proposes rows, the vectors on disk score them."""
        import numpy as np

        from ragdecode.indexing.langchain.store import Shelf, open_shelf
        from ragdecode.indexing.passages import PassageTable
        from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher

        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        passages = PassageTable(folder.parent.parent)
        shelf = Shelf.of(facts, len(vectors))
        kept = open_shelf(self.settings, shelf, passages.texts(), vectors, encoders)
        if not kept.persistent:
            kept.fill(passages, lambda done: None)
        return FaissSearcher(vectors, kept.candidates, self.settings.encoder, str(facts["encoder"]), encoders)

    def discard(self, facts: Mapping[str, Any]) -> None:
        """Remove the passages from the vector store."""
        from ragdecode.indexing.langchain.store import discard

        if "elsewhere" in facts:
            discard(self.settings, facts["elsewhere"])
