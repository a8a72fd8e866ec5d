"""Later stage: passages that are relevant and unlike one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.indexing.hit import Hit
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.likeness import STORE, Likeness, check_encoder
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MmrSettings(Settings):
    """How much relevance counts against novelty, and how many passages stay."""

    lambda_mult: float = Field(default=0.5, ge=0, le=1)
    """The lambda of the method: 1 looks at relevance alone, 0 only at how unlike the passages are."""
    top_k: int = Field(default=4, ge=1)
    """Passages to keep."""
    relevance: Literal["cosine", "score"] = "cosine"
    """``cosine`` of question and passage, or the ``score`` of the stage before, brought to the range from 0 to 1."""
    store: str | None = None
    """Store of the index whose vectors are compared; ``faiss`` if neither a store nor an encoder is named."""
    encoder: Annotated[ModelSpec, Reference("models")] | None = None
    """Encoder that makes the vectors anew, in the place of a store's."""

    @model_validator(mode="after")
    def _fits(self) -> MmrSettings:
        check_encoder(self.encoder, self.store)
        return self


@register("retriever", "mmr", MmrSettings)
class MmrStage:
    """Takes one passage after the other: each time the most relevant that is least like those taken.

    Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries" (SIGIR 1998). The score of a passage is its marginal relevance when it was taken,
    ``lambda * relevance - (1 - lambda) * (largest cosine to a passage taken before)``.
    """

    role: Role = "passages"
    ranks_by: RanksBy = "vectors"
    needs_model = False

    def __init__(self, settings: MmrSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The store whose vectors it takes."""
        return () if self.settings.encoder else (self.settings.store or STORE,)

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages taken, in that order; vectors of all questions and passages are got together."""
        if not any(hits):
            return [[] for _ in hits]
        settings = self.settings
        likeness = Likeness("mmr", context, settings.encoder, settings.store)
        vectors = likeness.of_passages(hits)
        if settings.relevance == "cosine":
            asked = likeness.of_texts([query.text for query in queries], "query")
            relevance = [own @ question if len(own) else [] for own, question in zip(vectors, asked, strict=True)]
        else:
            relevance = [_scaled([hit.score for hit in found]) for found in hits]
        return [self._taken(*one) for one in zip(hits, relevance, vectors, strict=True)]

    def _taken(self, hits: list[Hit], relevance: Sequence[float], vectors: NDArray[np.float32]) -> list[Hit]:
        weight = self.settings.lambda_mult
        left = sorted(range(len(hits)), key=lambda at: hits[at].passage.id)
        likest = [0.0] * len(hits)  # cosine to the likest passage taken; none yet
        taken: list[Hit] = []
        while left and len(taken) < self.settings.top_k:
            # vectors are float32: differences beyond the sixth digit are noise and must not break ties
            marginal = [round(weight * float(relevance[at]) - (1 - weight) * likest[at], 6) for at in left]
            best = left.pop(marginal.index(max(marginal)))
            cosines = (vectors @ vectors[best]).tolist()
            likest = [max(old, new) if taken else new for old, new in zip(likest, cosines, strict=True)]
            taken.append(hits[best].rescored("mmr", max(marginal)))
        return taken


def _scaled(scores: Sequence[float]) -> list[float]:
    """Scores from 0, the worst, to 1, the best; all 1 if they are equal."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]
