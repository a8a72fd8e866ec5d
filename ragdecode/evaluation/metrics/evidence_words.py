"""Metrics of how much of an answer stands in its evidence, by words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from ragdecode.evaluation.example import Answered
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.evaluation.metrics import knowledge
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


class KnowledgeMetric(Metric[NoSettings]):
    """One value against the passages as the model saw them; none where it saw none."""

    title: ClassVar[str] = ""
    description: ClassVar[str] = ""
    #: (answer, passages) -> 0 to 1, and what was asked with behind them for the measures of what is new
    measure: ClassVar[Callable[..., float]]
    new: ClassVar[bool] = False

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        return {self.part_name: Facts(self.title, self.description)}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        texts = [passage.text for passage in answered.passages]
        example = answered.example
        asked = [*(turn.content for turn in example.history), example.question]
        more = (asked,) if self.new else ()
        return {self.part_name: self.measure(answered.answer, texts, *more) if texts else None}


@register("metric", "k_precision")
class KPrecision(KnowledgeMetric):
    """Share of the answer's words that stand in the passages; rewards copying, so read it beside recall and length."""

    title = "K-Precision"
    description = "Share of the answer's words that stand in its passages."
    measure = staticmethod(knowledge.k_precision)


@register("metric", "k_recall")
class KRecall(KnowledgeMetric):
    """Share of the passages' words that the answer has."""

    title = "K-Recall"
    description = "Share of the passages' words that the answer has."
    measure = staticmethod(knowledge.k_recall)


@register("metric", "k_f1")
class KF1(KnowledgeMetric):
    """F1 of the answer's words and the passages'."""

    title = "K-F1"
    description = "Harmonic mean of K-Precision and K-Recall."
    measure = staticmethod(knowledge.k_f1)


@register("metric", "k_precision++")
class KPrecisionNew(KnowledgeMetric):
    """K-Precision of the words that the question and earlier turns do not have (K-Precision++)."""

    title = "K-Precision++"
    description = "K-Precision of the words that were not asked with; 1 if none is left."
    measure = staticmethod(knowledge.k_precision_new)
    new = True


@register("metric", "k_recall++")
class KRecallNew(KnowledgeMetric):
    """K-Recall of the words that the question and earlier turns do not have (K-Recall++)."""

    title = "K-Recall++"
    description = "K-Recall of the words that were not asked with; 1 if none is left."
    measure = staticmethod(knowledge.k_recall_new)
    new = True


@register("metric", "k_f1++")
class KF1New(KnowledgeMetric):
    """K-F1 of the words that the question and earlier turns do not have (K-F1++)."""

    title = "K-F1++"
    description = "K-F1 of the words that were not asked with; 1 if none is left."
    measure = staticmethod(knowledge.k_f1_new)
    new = True
