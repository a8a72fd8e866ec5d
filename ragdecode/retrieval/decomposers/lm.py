"""The pipeline's own language model takes the question apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ragdecode.retrieval.chat_prompt import Chat, built_in, filler, uses
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.retrieval.writing import lines, words, written
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class LmDecomposerSettings(Settings):
    """How the model is asked."""

    max_new_tokens: int = Field(default=96, ge=1, le=1024)
    """Length of all sub-questions together, in tokens."""
    prompt: Annotated[Chat, uses("question")] = None
    """Chat that asks for the sub-questions, one a line, ``[{role, content}]``: Jinja templates over ``question``. A
    built-in one with examples if left out."""


@register("decomposer", "lm", LmDecomposerSettings)
class LmDecomposer:
    """Asks the model for the simple questions, with examples, one text a question."""

    needs_model = True

    def __init__(self, settings: LmDecomposerSettings) -> None:
        self.settings = settings

    def split(self, queries: Sequence[Query], context: RetrievalContext) -> list[tuple[str, ...]]:
        """The lines that the model writes, without those that have no word in common with the question."""
        fill = filler(self.settings.prompt or built_in("decompose"))
        asked = [Generation(fill(question=query.text), self.settings.max_new_tokens) for query in queries]
        return [
            tuple(line for line in lines(text) if not set(words(query.text)).isdisjoint(words(line)))
            for query, text in zip(queries, written(context, "decompose", asked), strict=True)
        ]
