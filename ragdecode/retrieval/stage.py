"""The contract of retrieval stages: some rework the question, one finds passages, the others work on what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit, ranked
from ragdecode.indexing.index import Index
from ragdecode.indexing.store import Encoders
from ragdecode.retrieval.generation import Generate
from ragdecode.retrieval.query import Query

if TYPE_CHECKING:
    from ragdecode.spec.model import ModelSpec

#: (prefix text, continuation text) pairs -> mean log-probability of each continuation's tokens after its prefix
Likelihood = Callable[[Sequence[tuple[str, str]]], list[float]]
#: (question, passage text) pairs -> relevance scores, larger is better
PairScorer = Callable[[Sequence[tuple[str, str]]], list[float]]
#: (premise, hypothesis) pairs -> probability of entailment against contradiction, 0 to 1
Entailment = Callable[[Sequence[tuple[str, str]]], list[float]]
Role = Literal["query", "find", "passages"]

#: constant of the reciprocal ranks by which the rankings of a question's variants are fused
_VARIANTS_K = 60


@dataclass(frozen=True)
class RetrievalContext:
    """What stages may use.

    Attributes:
        index: The open index; None where every stage brings its own passages.
        likelihood: The pipeline's own language model as a scorer; None where no model is loaded.
        cross_encoders: Gives the scorer of a cross-encoder; None where no models can be loaded.
        generate: The pipeline's own language model as a writer; None where no model is loaded.
        count_tokens: Tokens of each text, in tokens of the pipeline's own model; None where no model is loaded.
        encoders: Gives sentence encoders; None where no models can be loaded.
        entailment: Gives the judge of a natural-language-inference model; None where no models can be loaded.
    """

    index: Index | None = None
    likelihood: Likelihood | None = None
    cross_encoders: Callable[[ModelSpec], PairScorer] | None = None
    generate: Generate | None = None
    count_tokens: Callable[[Sequence[str]], list[int]] | None = None
    encoders: Encoders | None = None
    entailment: Callable[[ModelSpec], Entailment] | None = None

    @property
    def stores(self) -> tuple[str, ...]:
        """Names of the index's stores."""
        return self.index.stores if self.index else ()

    def opened(self, stage: str) -> Index:
        """The index.

        Raises:
            RunError: There is none.
        """
        if self.index is None:
            raise RunError("it needs an index", component=f"retriever {stage}")
        return self.index

    def search(self, store: str, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """The best k passages of a store for each query, in one search.

        A query with variants gets the reciprocal-rank fusion of their rankings (Cormack et al., SIGIR 2009, k = 60).
        """
        index = self.opened(store)
        probes = [query.probes(store) for query in queries]
        found = iter(index.search(store, [probe for group in probes for probe in group], k))
        rankings = [[next(found) for _ in group] for group in probes]
        return [group[0] if len(group) == 1 else fused(group, store, k) for group in rankings]


class RetrievalStage(Protocol):
    """What all stages say of themselves; a part of kind ``retriever``, built as ``cls(settings)``.

    It is a `QueryStage`, `FindStage` or `PassageStage`, as its role tells.
    """

    @property
    def role(self) -> Role:
        """``query``: before the finding stage; ``find``: exactly one; ``passages``: after it."""
        ...

    @property
    def stores(self) -> tuple[str, ...] | None:
        """Stores of the index that it searches; None if it takes all there are, so that there must be an index."""
        ...

    @property
    def needs_model(self) -> bool:
        """Whether it uses the pipeline's language model: `likelihood` or `generate`."""
        ...


class QueryStage(RetrievalStage, Protocol):
    """Rewords, expands or takes apart the question."""

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """What is searched in the place of each query."""
        ...


class FindStage(RetrievalStage, Protocol):
    """Finds passages."""

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """Hits for each query, best first."""
        ...


class PassageStage(RetrievalStage, Protocol):
    """Reorders, filters or shortens passages."""

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """Hits for each query in the order in which they are to be shown."""
        ...


def fused(rankings: Sequence[list[Hit]], store: str, k: int) -> list[Hit]:
    """One ranking of several of the same store; ``scores[store]`` is the best that a variant gave."""
    merged: dict[str, Hit] = {}
    fused: dict[str, float] = {}
    for hits in rankings:
        for rank, hit in enumerate(hits, start=1):
            name = hit.passage.id
            fused[name] = fused.get(name, 0.0) + 1.0 / (_VARIANTS_K + rank)
            if name not in merged or merged[name].score < hit.score:
                merged[name] = hit
    return ranked((replace(hit, score=fused[name]) for name, hit in merged.items()), k)
