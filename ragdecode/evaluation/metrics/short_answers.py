"""Metrics against golden answers: exact match, precision, recall, F1 and substrings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.evaluation.metrics import answers
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


class ReferenceMetric(Metric[NoSettings]):
    """One value against the golden answer that fits best; none where an example has no golden answer."""

    needs: ClassVar[frozenset[Field]] = frozenset({"references"})
    title: ClassVar[str] = ""
    description: ClassVar[str] = ""

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        return {self.part_name: Facts(self.title, self.description)}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        golden = answered.example.references
        return {self.part_name: self.against(answered.answer, golden) if golden else None}

    @abstractmethod
    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """The value, 0 to 1."""


@register("metric", "exact_match")
class ExactMatch(ReferenceMetric):
    """Share of answers that equal a golden one, normalised as in SQuAD (EM)."""

    title = "EM"
    description = "The answer equals a golden one, normalised."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.exact_match(answer, golden)


@register("metric", "f1")
class F1(ReferenceMetric):
    """F1 of the words shared with the golden answer that fits best."""

    title = "F1"
    description = "Harmonic mean of precision and recall of words against a golden answer."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.token_f1(answer, golden)


@register("metric", "precision")
class Precision(ReferenceMetric):
    """Share of the answer's words that a golden answer has."""

    title = "Precision"
    description = "Share of the answer's words that a golden answer has."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.token_precision(answer, golden)


@register("metric", "recall")
class Recall(ReferenceMetric):
    """Share of a golden answer's words that the answer has; follows people's judgement of long answers best."""

    title = "Recall"
    description = "Share of a golden answer's words that the answer has; longer answers have more."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.token_recall(answer, golden)


@register("metric", "recall_em")
class RecallEM(ReferenceMetric):
    """Share of answers that have a golden one as a substring, normalised, be it inside a word (RecallEM)."""

    title = "RecallEM"
    description = "A golden answer is a substring of the answer, normalised."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.substring_match(answer, golden)


@register("metric", "contains_answer")
class ContainsAnswer(ReferenceMetric):
    """Share of answers that have a golden one in them as whole words, normalised."""

    title = "Contains"
    description = "A golden answer stands in the answer as whole words, normalised."

    def against(self, answer: str, golden: tuple[str, ...]) -> float:
        """See `ReferenceMetric.against`."""
        return answers.contains_answer(answer, golden)
