"""Later stage: drops passages by score and by metadata."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.indexing.hit import Hit, best_first
from ragdecode.retrieval.conditions import Condition, fields_of, matching
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

logger = logging.getLogger(__name__)


#: a number, not a text or truth value that could be taken for one
_Score = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class FilterSettings(Settings):
    """What a passage must be like; all that is given must hold."""

    min_score: _Score | dict[str, _Score] | None = None
    """Least score: of the stage before, or of the stages and stores named, as in ``{bm25: 2.0}``."""
    relative: float | None = Field(default=None, gt=0, le=1)
    """Least share of the best passage's score; where that is negative, the score may be ``1 / relative`` times as
    far below zero."""
    within: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Largest distance from the best passage's score."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Conditions by metadata field: a value, a list of values, or ``{min, max, contains}``. Text for ``source`` is
    a glob pattern."""
    missing: Literal["drop", "keep"] = "drop"
    """What becomes of a passage that lacks a field of ``where`` or a score named in ``min_score``."""
    top_k: int | None = Field(default=None, ge=1)
    """Passages to keep of those that pass: those with the best scores."""

    @model_validator(mode="after")
    def _does_something(self) -> FilterSettings:
        if self.min_score == {}:
            raise ValueError("min_score names no score")
        given = (self.min_score, self.relative, self.within, self.top_k)
        if all(value is None for value in given) and not self.where:
            raise ValueError("expected at least one of min_score, relative, within, where, top_k")
        return self


@register("retriever", "filter", FilterSettings)
class FilterStage:
    """Keeps the passages that are good enough and come from the right place, in the order they are in."""

    role: Role = "passages"
    stores: tuple[str, ...] = ()
    needs_model = False

    def __init__(self, settings: FilterSettings) -> None:
        self.settings = settings
        self._fits = matching(settings.where, settings.missing == "keep")

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages that pass."""
        self._warn(hits)
        return [self._kept(found) for found in hits]

    def _kept(self, hits: list[Hit]) -> list[Hit]:
        best = max((hit.score for hit in hits), default=0.0)
        kept = [hit for hit in hits if self._scores(hit, best) and self._fits(hit.passage.metadata())]
        return [kept[at] for at in sorted(best_first(kept)[: self.settings.top_k])]

    def _scores(self, hit: Hit, best: float) -> bool:
        settings = self.settings
        if isinstance(settings.min_score, dict):
            for name, least in settings.min_score.items():
                score = hit.scores.get(name)
                if settings.missing == "drop" if score is None else score < least:
                    return False
        elif settings.min_score is not None and hit.score < settings.min_score:
            return False
        if settings.relative is not None:
            # below zero a share of the best would be above it
            least = best * settings.relative if best >= 0 else best / settings.relative
            if hit.score < least:
                return False
        return settings.within is None or hit.score >= best - settings.within

    def _warn(self, hits: Sequence[list[Hit]]) -> None:
        """A name that no passage knows is a slip more often than not."""
        passages = [hit for found in hits for hit in found]
        if not passages:
            return
        names = self.settings.min_score if isinstance(self.settings.min_score, Mapping) else {}
        fields = fields_of([hit.passage.metadata() for hit in passages]) if self.settings.where else []
        have = {"score": sorted({name for hit in passages for name in hit.scores}), "field": fields}
        for what, asked in (("score", names), ("field", self.settings.where)):
            for name in asked:
                if name not in have[what]:
                    logger.warning("filter: no passage has the %s %r; they have %s", what, name, ", ".join(have[what]))
