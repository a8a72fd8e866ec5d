"""The contract of retrieval stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ragdecode.indexing.hit import Hit
from ragdecode.indexing.index import Index
from ragdecode.retrieval.query import Query

if TYPE_CHECKING:
    from ragdecode.spec.model import ModelSpec

#: (prefix text, continuation text) pairs -> mean log-probability of each continuation's tokens after its prefix
Likelihood = Callable[[Sequence[tuple[str, str]]], list[float]]
#: (question, passage text) pairs -> relevance scores, larger is better
PairScorer = Callable[[Sequence[tuple[str, str]]], list[float]]


@dataclass(frozen=True)
class RetrievalContext:
    """What stages may use.

    Attributes:
        index: The open index.
        likelihood: The pipeline's own language model as a scorer; None where no model is loaded.
        cross_encoders: Gives the scorer of a cross-encoder; None where no models can be loaded.
    """

    index: Index
    likelihood: Likelihood | None = None
    cross_encoders: Callable[[ModelSpec], PairScorer] | None = None


class RetrievalStage(Protocol):
    """A part of kind ``retriever``, built as ``cls(settings)``."""

    @property
    def produces(self) -> bool:
        """True for a stage that finds passages, as the first must and no other may."""
        ...

    @property
    def stores(self) -> tuple[str, ...] | None:
        """Stores of the index that it searches; None if it takes all there are."""
        ...

    @property
    def needs_likelihood(self) -> bool:
        """Whether it scores with the pipeline's language model."""
        ...

    def run(
        self, queries: Sequence[Query], candidates: Sequence[list[Hit]] | None, context: RetrievalContext
    ) -> list[list[Hit]]:
        """Hits for each query, best first; ``candidates`` is None for the first stage."""
        ...
