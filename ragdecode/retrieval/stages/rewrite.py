"""Query stage: a follow-up question in words that stand alone."""

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
from ragdecode.retrieval.writing import distinct, lines, words, written
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_log = logging.getLogger(__name__)


class RewriteSettings(Settings):
    """What the model sees of the conversation, and what becomes of the question as asked."""

    turns: int = Field(default=6, ge=1)
    """Latest messages of the conversation that the model sees."""
    turn_words: int = Field(default=60, ge=1)
    """Words of each message that it sees, from its beginning."""
    keep: bool = False
    """Search with the question as asked too; the two rankings are fused."""
    max_new_tokens: int = Field(default=48, ge=1, le=512)
    """Longest rewriting, in tokens."""
    prompt: Annotated[Chat, uses("question", "history")] = None
    """Chat that asks for the rewriting, ``[{role, content}]``: Jinja templates over ``question`` and ``history``. A
    built-in one if left out."""


@register("retriever", "rewrite", RewriteSettings)
class RewriteStage:
    """Rewrites a follow-up question so that it can be understood without the conversation.

    "How tall is it?" after a talk of Mount Fuji becomes "How tall is Mount Fuji?": the task of Elgohary et al., "Can
    You Unpack That? Learning to Rewrite Questions-in-Context" (EMNLP 2019). A question without history stays as it
    is and costs nothing; so does one whose rewriting cannot be meant: see `_sound`.
    """

    role: Role = "query"
    stores: tuple[str, ...] = ()
    needs_model = True

    def __init__(self, settings: RewriteSettings) -> None:
        self.settings = settings

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """The queries with their text rewritten; all follow-up questions are decoded together."""
        fill = filler(self.settings.prompt or built_in("rewrite"))
        asked = {
            at: Generation(fill(question=query.text, history=self._history(query)), self.settings.max_new_tokens)
            for at, query in enumerate(queries)
            if any(role != "system" for role, _ in query.history)
        }
        texts = dict(zip(asked, written(context, "rewrite", list(asked.values())), strict=True))
        return [self._rewritten(query, texts[at]) if at in texts else query for at, query in enumerate(queries)]

    def _history(self, query: Query) -> list[dict[str, str]]:
        """The latest messages, the system's left out, each cut after its first words."""
        said = [(role, text) for role, text in query.history if role != "system"][-self.settings.turns :]
        return [{"role": role, "content": _beginning(text, self.settings.turn_words)} for role, text in said]

    def _rewritten(self, query: Query, text: str) -> Query:
        found = lines(text)[:1]
        if not found or not _sound(found[0], query):
            _log.debug("rewrite: %r stays; the model wrote %r", query.text, text)
            return query
        _log.debug("rewrite: %r is searched as %r", query.text, found[0])
        kept = distinct([query.text], found[0], *query.variants) if self.settings.keep else []
        return replace(query, text=found[0], variants=(*query.variants, *kept))


def _sound(text: str, query: Query) -> bool:
    """Whether a rewriting may be one: half of its words have been said, and it does not repeat an earlier message."""
    said = {word for _, message in query.history for word in words(message)} | set(words(query.text))
    own = words(text)
    repeats = any(own == words(message) for role, message in query.history)
    return not repeats and 2 * sum(word in said for word in own) >= len(own)


def _beginning(text: str, count: int) -> str:
    """The first words of a text, on one line."""
    parts = text.split()
    return " ".join(parts[:count]) + (" ..." if len(parts) > count else "")
