"""Metrics of how much of an answer stands in its evidence, by words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
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

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        return {self.part_name: Facts(self.title, self.description)}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        texts = [passage.text for passage in answered.passages]
        example = answered.example
        asked = [*(turn.content for turn in example.history), example.question]
        return {self.part_name: self.against(answered.answer, texts, asked) if texts else None}

    @abstractmethod
    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """The value, 0 to 1."""


@register("metric", "k_precision")
class KPrecision(KnowledgeMetric):
    """Share of the answer's words that stand in the passages; rewards copying, so read it beside recall and length."""

    title = "K-Precision"
    description = "Share of the answer's words that stand in its passages."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_precision(answer, passages)


@register("metric", "k_recall")
class KRecall(KnowledgeMetric):
    """Share of the passages' words that the answer has."""

    title = "K-Recall"
    description = "Share of the passages' words that the answer has."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_recall(answer, passages)


@register("metric", "k_f1")
class KF1(KnowledgeMetric):
    """F1 of the answer's words and the passages'."""

    title = "K-F1"
    description = "Harmonic mean of K-Precision and K-Recall."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_f1(answer, passages)


@register("metric", "k_precision++")
class KPrecisionNew(KnowledgeMetric):
    """K-Precision of the words that the question and earlier turns do not have (K-Precision++)."""

    title = "K-Precision++"
    description = "K-Precision of the words that were not asked with; 1 if none is left."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_precision_new(answer, passages, asked)


@register("metric", "k_recall++")
class KRecallNew(KnowledgeMetric):
    """K-Recall of the words that the question and earlier turns do not have (K-Recall++)."""

    title = "K-Recall++"
    description = "K-Recall of the words that were not asked with; 1 if none is left."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_recall_new(answer, passages, asked)


@register("metric", "k_f1++")
class KF1New(KnowledgeMetric):
    """K-F1 of the words that the question and earlier turns do not have (K-F1++)."""

    title = "K-F1++"
    description = "K-F1 of the words that were not asked with; 1 if none is left."

    def against(self, answer: str, passages: Sequence[str], asked: Sequence[str]) -> float:
        """See `KnowledgeMetric.against`."""
        return knowledge.k_f1_new(answer, passages, asked)
