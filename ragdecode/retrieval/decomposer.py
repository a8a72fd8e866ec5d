"""The contract of decomposers: what takes a question apart into simpler ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ragdecode.retrieval.query import Query
    from ragdecode.retrieval.stage import RetrievalContext


class Decomposer(Protocol):
    """A part of kind ``decomposer``, built as ``cls(settings)``."""

    @property
    def needs_model(self) -> bool:
        """Whether it uses the pipeline's language model."""
        ...

    def split(self, queries: Sequence[Query], context: RetrievalContext) -> list[tuple[str, ...]]:
        """The sub-questions of each query, in order; none for a question that is simple already."""
        ...
