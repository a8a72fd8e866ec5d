"""The metric ``length``."""

from __future__ import annotations

from collections.abc import Mapping

from ragdecode.evaluation.example import Answered
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


@register("metric", "length")
class Length(Metric[NoSettings]):
    """Words of the answer; recall and K-Precision are to be read beside it."""

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        return {"length": Facts("Words", "Words of the answer; neither more nor fewer is better.")}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        return {"length": float(len(answered.answer.split()))}
