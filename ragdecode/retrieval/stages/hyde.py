"""Query stage: passages that could answer the question, made up, as a direction in which to look."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ragdecode.errors import InputError
from ragdecode.indexing.store import RanksBy, Vectors
from ragdecode.retrieval.chat_prompt import Chat, built_in, filler, uses
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.retrieval.writing import written
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_log = logging.getLogger(__name__)


class HydeSettings(Settings):
    """How many passages are made up, and how."""

    n: int = Field(default=1, ge=1, le=32)
    """Passages to make up for each question."""
    store: str = "faiss"
    """Store of vectors that is searched with them."""
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    """Of the made-up passages. Left out, one passage is the model's most probable (0) and several are drawn at 0.7."""
    seed: int = 0
    """Seed of the first passage where the temperature is above 0; the next passages have the next seeds."""
    max_new_tokens: int = Field(default=96, ge=1, le=2048)
    """Longest passage, in tokens."""
    prompt: Annotated[Chat, uses("question")] = None
    """Chat that asks for a passage, ``[{role, content}]``: Jinja templates over ``question``. A built-in one if left
    out."""


@register("retriever", "hyde", HydeSettings)
class HydeStage:
    """Searches by meaning with made-up answers: what they say may be wrong, where they point to is often right.

    HyDE: Gao et al., "Precise Zero-Shot Dense Retrieval without Relevance Labels" (ACL 2023, arXiv 2212.10496). The
    query's vector is the mean of the question's own and those of the made-up passages.
    """

    role: Role = "query"
    ranks_by: RanksBy = "vectors"
    needs_model = True

    def __init__(self, settings: HydeSettings) -> None:
        self.settings = settings
        if settings.n > 1 and settings.temperature == 0:
            raise InputError(
                f"hyde: n {settings.n} passages at temperature 0 would all be the same",
                hint="raise the temperature, or set n: 1",
            )

    @property
    def stores(self) -> tuple[str, ...]:
        """The store of vectors."""
        return (self.settings.store,)

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """The queries with likenesses; the passages of all questions are decoded together.

        Raises:
            InputError: The store does not rank by vectors.
            RunError: There is no language model.
        """
        settings = self.settings
        if not isinstance(context.opened("hyde").searcher(settings.store), Vectors):
            raise InputError(
                f"hyde looks for likenesses by their vectors, but the store {settings.store!r} has none",
                hint="name a store of vectors: hyde: {store: faiss}",
            )
        fill = filler(settings.prompt or built_in("hyde"))
        temperature = (0.7 if settings.n > 1 else 0.0) if settings.temperature is None else settings.temperature
        asked = [
            Generation(
                fill(question=query.text),
                settings.max_new_tokens,
                temperature=temperature,
                seed=settings.seed + number,
            )
            for query in queries
            for number in range(settings.n)
        ]
        texts = iter(written(context, "hyde", asked))
        return [self._likened(query, [next(texts).strip() for _ in range(settings.n)]) for query in queries]

    def _likened(self, query: Query, texts: Sequence[str]) -> Query:
        passages = tuple(dict.fromkeys(text for text in texts if text))
        _log.debug("hyde: %r is searched with %s", query.text, list(passages))
        return replace(query, likenesses=(*query.likenesses, *passages))
