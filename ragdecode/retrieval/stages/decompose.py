"""Query stage: the simpler questions that a question is made of, searched beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from ragdecode.errors import RunError
from ragdecode.retrieval.decomposer import Decomposer as Splitter
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.retrieval.writing import distinct
from ragdecode.spec.part import Decomposer
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_log = logging.getLogger(__name__)


class DecomposeSettings(Settings):
    """What splits, and into how many parts."""

    by: Decomposer = Field(default="lm", validate_default=True)
    """``lm`` asks the pipeline's own language model; ``clauses`` splits at conjunctions, without a model; or another
    part of kind decomposer."""
    most: int = Field(default=4, ge=2, le=16)
    """Sub-questions to search with, at most."""


@register("retriever", "decompose", DecomposeSettings)
class DecomposeStage:
    """Takes a question apart and searches with its parts too; the rankings are fused by reciprocal ranks.

    Khot et al., "Decomposed Prompting" (ICLR 2023), and Press et al., "Measuring and Narrowing the Compositionality
    Gap" (EMNLP Findings 2023), take questions apart step by step; here it happens once, before the search.
    """

    role: Role = "query"
    stores: tuple[str, ...] = ()

    def __init__(self, settings: DecomposeSettings) -> None:
        self.settings = settings
        self.decomposer: Splitter = settings.by.build()

    @property
    def needs_model(self) -> bool:
        """Whether the decomposer uses the pipeline's language model."""
        return self.decomposer.needs_model

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """The queries with their parts; all are split in one call.

        Raises:
            RunError: The decomposer needs a language model and there is none, or it did not split every query.
        """
        split = self.decomposer.split(queries, context)
        if len(split) != len(queries):
            raise RunError(f"expected the parts of {len(queries)} questions, got {len(split)}", component=f"{self}")
        return [self._taken_apart(query, parts) for query, parts in zip(queries, split, strict=True)]

    def __str__(self) -> str:
        return f"decomposer {self.settings.by.name}"

    def _taken_apart(self, query: Query, parts: Sequence[str]) -> Query:
        found = distinct([part.strip() for part in parts if part.strip()], query.text)[: self.settings.most]
        if not found:
            return query
        _log.debug("decompose: %r is searched as %s too", query.text, found)
        fresh = distinct(found, query.text, *query.variants)
        return replace(query, parts=(*query.parts, *found), variants=(*query.variants, *fresh))
