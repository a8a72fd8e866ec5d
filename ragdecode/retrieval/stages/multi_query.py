"""Query stage: the question in other words, searched beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ragdecode.retrieval.chat_prompt import Chat, built_in, filler, uses
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.retrieval.writing import distinct, lines, written
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_log = logging.getLogger(__name__)


class MultiQuerySettings(Settings):
    """How many wordings, and how they are written."""

    n: int = Field(default=3, ge=1, le=16)
    """Other wordings to search with, at most: the model may write fewer that differ."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """0 takes the model's most probable words."""
    seed: int = 0
    """Seed of the wordings where the temperature is above 0."""
    max_new_tokens: int = Field(default=96, ge=1, le=1024)
    """Length of all wordings together, in tokens."""
    prompt: Annotated[Chat, uses("question", "n")] = None
    """Chat that asks for the wordings, one a line, ``[{role, content}]``: Jinja templates over ``question`` and ``n``.
    A built-in one if left out."""


@register("retriever", "multi_query", MultiQuerySettings)
class MultiQueryStage:
    """Searches with other wordings of the question too; the rankings are fused by reciprocal ranks.

    One text a question is asked for, with a wording a line.
    """

    role: Role = "query"
    stores: tuple[str, ...] = ()
    needs_model = True

    def __init__(self, settings: MultiQuerySettings) -> None:
        self.settings = settings

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """The queries with variants; all questions are decoded together."""
        settings = self.settings
        fill = filler(settings.prompt or built_in("multi_query"))
        asked = [
            Generation(
                fill(question=query.text, n=settings.n),
                settings.max_new_tokens,
                temperature=settings.temperature,
                seed=settings.seed,
            )
            for query in queries
        ]
        texts = written(context, "multi_query", asked)
        return [self._varied(query, text) for query, text in zip(queries, texts, strict=True)]

    def _varied(self, query: Query, text: str) -> Query:
        wordings = distinct(lines(text), query.text, *query.variants)[: self.settings.n]
        _log.debug("multi_query: %r is searched as %s too", query.text, wordings)
        return replace(query, variants=(*query.variants, *wordings))
