"""Later stage: no more text than the model is to read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit, best_first
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.shorten import first_sentences
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.documents.passage import Passage


logger = logging.getLogger(__name__)


class BudgetSettings(Settings):
    """How much; all limits that are given hold."""

    tokens: int | None = Field(default=None, ge=1)
    """Tokens of the pipeline's own model over all passages."""
    passages: int | None = Field(default=None, ge=1)
    """Passages in all."""
    per_source: int | None = Field(default=None, ge=1)
    """Passages of one file."""
    cut: Literal["drop", "shorten"] = "drop"
    """What becomes of a passage that does not fit into ``tokens``: ``drop`` leaves it out and tries the next best;
    ``shorten`` keeps the sentences from its beginning that fit, and takes no further passage."""

    @model_validator(mode="after")
    def _does_something(self) -> BudgetSettings:
        if self.tokens is None and self.passages is None and self.per_source is None:
            raise ValueError("expected at least one of tokens, passages, per_source")
        if self.tokens is None and self.cut == "shorten":
            raise ValueError("cut: shorten has no place without tokens")
        return self


@register("retriever", "budget", BudgetSettings)
class BudgetStage:
    """Takes the passages with the best scores as long as there is room; they stay in the order they are in.

    Tokens are those of the passages' texts; what a prompt puts around them comes on top.
    """

    role: Role = "passages"
    stores: tuple[str, ...] = ()
    needs_model = False

    def __init__(self, settings: BudgetSettings) -> None:
        self.settings = settings

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages taken; those of all questions are counted in one call."""
        texts = [hit.passage.text for found in hits for hit in found]
        room = self.settings.tokens
        if room is None or not texts:
            return [self._taken(found, [0] * len(found))[0] for found in hits]
        if context.count_tokens is None:
            raise RunError("tokens needs the pipeline's language model, to count", component="retriever budget")
        lengths = context.count_tokens(texts)
        counts = iter(lengths)
        taken = [self._taken(found, [next(counts) for _ in found]) for found in hits]
        cut = [(hit.passage, room) for _, hit, room in taken if hit is not None]
        short = iter(first_sentences([passage for passage, _ in cut], [room for _, room in cut], context.count_tokens))
        kept = [_with(found, hit, next(short) if hit is not None else None) for found, hit, _ in taken]
        if not any(kept):
            logger.warning("budget: nothing fits into %d tokens; the shortest passage has %d", room, min(lengths))
        return kept

    def _taken(self, hits: list[Hit], tokens: list[int]) -> tuple[list[Hit], Hit | None, int]:
        """The passages that stay, the one of them that is to be shortened, and the tokens left for it."""
        settings = self.settings
        sources: Counter[str] = Counter()
        stay: set[int] = set()
        room = settings.tokens or 0
        cut: int | None = None
        for at in best_first(hits):
            if len(stay) == settings.passages:
                break
            source = hits[at].passage.source
            if sources[source] == settings.per_source:
                continue
            if tokens[at] > room:
                if settings.cut == "drop":
                    continue
                cut = at
            stay.add(at)
            sources[source] += 1
            if cut is not None:
                break
            room -= tokens[at]
        kept = [hit for at, hit in enumerate(hits) if at in stay]
        return kept, hits[cut] if cut is not None else None, room


def _with(hits: list[Hit], hit: Hit | None, short: Passage | None) -> list[Hit]:
    """The hits with the shortened passage in the place of the whole one, or without it if nothing of it fits."""
    if hit is None:
        return hits
    if short is None:
        return [one for one in hits if one is not hit]
    # what is left of it is no longer the passage of that row
    return [replace(one, passage=short, row=None) if one is hit else one for one in hits]
