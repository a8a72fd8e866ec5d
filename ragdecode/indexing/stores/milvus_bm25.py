"""Milvus: ranking by shared words, on a server or cluster, or in an embedded file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ragdecode.indexing.milvus.server import MilvusAddress
from ragdecode.indexing.store import Built, Need, RanksBy
from ragdecode.indexing.stores.bm25 import Stemmer, StopWords
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.indexing.milvus.words import MilvusWords
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders


class MilvusBm25Settings(MilvusAddress):
    """Server or file, formula and treatment of words."""

    variant: Literal["bm25+", "lucene"] = "bm25+"
    """Formula, as in the store ``bm25``; one whose weights are never negative, as Milvus wants them."""
    k1: float = Field(default=1.5, ge=0.0, le=10.0)
    """How slowly repetitions of a word saturate."""
    b: float = Field(default=0.75, ge=0.0, le=1.0)
    """How much long passages are marked down."""
    delta: float = Field(default=1.0, ge=0.0, le=10.0)
    """What one occurrence is worth in a passage of any length; in ``bm25+`` only."""
    stemmer: Stemmer = "none"
    """Snowball language whose endings are cut off; ``none`` compares whole words."""
    stop_words: StopWords = "none"
    """Language whose most common words are left out of passages and questions."""

    @model_validator(mode="after")
    def _consistent(self) -> MilvusBm25Settings:
        if self.variant != "bm25+" and "delta" in self.model_fields_set and self.delta != 1.0:
            raise ValueError(f"delta has no place in variant {self.variant}; it belongs to bm25+")
        return self


@register("store", "milvus_bm25", MilvusBm25Settings)
class MilvusBm25Store:
    """Ranking by shared words (BM25), searched by a Milvus server, cluster or embedded file.

    The weights of the words are computed here, over the whole corpus and by the formula that is named, and searched
    as sparse vectors: Milvus' own BM25 knows one formula, and Milvus Lite counts words by segment.
    """

    ranks_by: RanksBy = "words"

    def __init__(self, settings: MilvusBm25Settings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Count words, keep the vocabulary in the index's folder, and put the weights into a new collection."""
        from ragdecode.indexing.milvus.collection import building
        from ragdecode.indexing.milvus.words import weigh

        with building(self.settings, "milvus_bm25", context) as collection:
            words, rows = weigh(passages, folder, self.settings, context)
            index = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP", "params": {}}
            collection.fill(rows, len(passages), index, context, "milvus_bm25")
        return Built({"words": words, "elsewhere": collection.facts}, f"{words} words; collection {collection.name}")

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """Memory for about a weight for every six characters of text, with its row; the file holds them twice."""
        entries = characters // 6
        return Need(16 * entries if self.settings.embedded else entries, 24 * entries)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Unless a local file is gone: there is no model in it."""
        from ragdecode.indexing.milvus.collection import gone

        return not gone(self.settings, facts)

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> MilvusWords:
        """Connect, load the collection and read the vocabulary."""
        from ragdecode.indexing.milvus.collection import opened
        from ragdecode.indexing.milvus.words import MilvusWords

        return MilvusWords(folder, opened(self.settings, facts), self.settings)

    def discard(self, facts: Mapping[str, Any]) -> None:
        """Remove the collection."""
        from ragdecode.indexing.milvus.collection import discard

        discard(self.settings, facts)
