"""The metric ``choice``: whether the right option is the most probable one (MemoTrap, TruthfulQA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


@register("metric", "choice")
class Choice(Metric[NoSettings]):
    """Share of examples whose right option has the highest log-probability (accuracy of MemoTrap)."""

    needs: ClassVar[frozenset[Field]] = frozenset({"options"})

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        told = "The right option has the highest log-probability, summed over its tokens; a tie is wrong."
        return {"choice": Facts("Choice", told)}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        right = answered.example.correct
        if right is None or len(answered.options) < 2:
            return {"choice": None}
        others = [value for place, value in enumerate(answered.options) if place != right]
        return {"choice": float(answered.options[right] > max(others))}
