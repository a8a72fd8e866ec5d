"""Later stage: of passages that say the same, only the best stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from ragdecode.indexing.bm25.words import splitter
from ragdecode.indexing.hit import Hit, best_first
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.excerpt import overlap
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

logger = logging.getLogger(__name__)
Shingles = frozenset[tuple[str, ...]]


class NearDuplicatesSettings(Settings):
    """What counts as the same; any of the measures that are given is enough."""

    jaccard: float | None = Field(default=0.8, gt=0, le=1)
    """Least share of word sequences that two passages have in common, of all that either has."""
    shingle: int = Field(default=5, ge=1)
    """Words in a sequence, for ``jaccard`` and ``containment``."""
    containment: float | None = Field(default=None, gt=0, le=1)
    """Least share of the word sequences of the shorter passage that the longer has too."""
    overlap: float | None = Field(default=None, gt=0, le=1)
    """Least share of the shorter passage that both take from the same place of the same document."""
    cosine: float | None = Field(default=None, gt=0, le=1)
    """Least cosine of the vectors."""
    store: str | None = None
    """For ``cosine``: store of the index whose vectors are compared; ``faiss`` if neither this nor an encoder is
    named."""
    encoder: Annotated[ModelSpec, Reference("models")] | None = None
    """For ``cosine``: encoder that makes the vectors anew, in the place of a store's."""

    @model_validator(mode="after")
    def _fits(self) -> NearDuplicatesSettings:
        check_encoder(self.encoder, self.store)
        if all(value is None for value in (self.jaccard, self.containment, self.overlap, self.cosine)):
            raise ValueError("expected at least one of jaccard, containment, overlap, cosine")
        if self.cosine is None and (self.encoder or self.store):
            raise ValueError("store and encoder have no place without cosine")
        return self


@register("retriever", "near_duplicates", NearDuplicatesSettings)
class NearDuplicatesStage:
    """Goes through the passages, best score first, and drops those that are too much like one that stays.

    Word sequences (shingles) and their Jaccard resemblance and containment follow Broder, "On the resemblance and
    containment of documents" (1997); they are computed exactly, not by sketches, as there are few passages.
    """

    role: Role = "passages"
    ranks_by: RanksBy = "vectors"
    needs_model = False

    def __init__(self, settings: NearDuplicatesSettings) -> None:
        self.settings = settings
        self._words = splitter("none")

    @property
    def stores(self) -> tuple[str, ...]:
        """The store whose vectors it takes, if it does."""
        return (self.settings.store or STORE,) if self.settings.cosine is not None and not self.settings.encoder else ()

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages that stay, in their order."""
        vectors: Sequence[NDArray[np.float32] | None] = [None] * len(hits)
        if self.settings.cosine is not None and any(hits):
            likeness = Likeness("near_duplicates", context, self.settings.encoder, self.settings.store)
            vectors = likeness.of_passages(hits)
        return [self._distinct(found, own) for found, own in zip(hits, vectors, strict=True)]

    def _distinct(self, hits: list[Hit], vectors: NDArray[np.float32] | None) -> list[Hit]:
        same = self._measure(hits, vectors)
        stay: list[int] = []
        for at in best_first(hits):
            twin = next((old for old in stay if same(old, at)), None)
            if twin is None:
                stay.append(at)
            else:
                logger.debug("near_duplicates: %s is like %s", hits[at].passage.id, hits[twin].passage.id)
        return [hits[at] for at in sorted(stay)]

    def _measure(self, hits: list[Hit], vectors: NDArray[np.float32] | None) -> Callable[[int, int], bool]:
        """A test whether two of the passages are the same."""
        settings = self.settings
        by_words = settings.jaccard is not None or settings.containment is not None
        shingles = [self._shingles(hit.passage.text) for hit in hits] if by_words else []

        def same(one: int, other: int) -> bool:
            if by_words and self._resemble(shingles[one], shingles[other]):
                return True
            if settings.overlap is not None and overlap(hits[one].passage, hits[other].passage) >= settings.overlap:
                return True
            if vectors is None or settings.cosine is None:
                return False
            # equal vectors may have a cosine a rounding error below 1
            return float(vectors[one] @ vectors[other]) >= settings.cosine - 1e-6

        return same

    def _resemble(self, one: Shingles, other: Shingles) -> bool:
        common = len(one & other)
        if not common:
            return False
        jaccard, containment = self.settings.jaccard, self.settings.containment
        return (jaccard is not None and common / len(one | other) >= jaccard) or (
            containment is not None and common / min(len(one), len(other)) >= containment
        )

    def _shingles(self, text: str) -> Shingles:
        words = self._words(text)
        size = self.settings.shingle
        # a text shorter than one sequence is one; without any words it is compared as it stands
        short = (tuple(words) or (text.strip(),),)
        return frozenset(tuple(words[at : at + size]) for at in range(len(words) - size + 1)) or frozenset(short)
