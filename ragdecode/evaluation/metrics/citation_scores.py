"""The metric ``citations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field as SettingsField

from ragdecode.evaluation.example import Answered
from ragdecode.evaluation.metric import Entails, Facts, Judges, Metric
from ragdecode.evaluation.metrics.citations import EntailsOne, citations, cited_sentences
from ragdecode.evaluation.metrics.lexical_support import lexical_support
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class CitationSettings(Settings):
    """Settings of the citation metrics."""

    model: Annotated[ModelSpec | None, Reference("models")] = None
    """A model of entailment (kind ``cross_encoder``); without one words are compared, and the values are called so."""
    threshold: float = SettingsField(default=0.5, ge=0.0, le=1.0)
    """Least probability at which the model says that a passage entails a sentence."""


@register("metric", "citations", CitationSettings)
class CitationScores(Metric[CitationSettings]):
    """Citation recall and precision of ALCE: sentences that their citations support, and citations that are needed."""

    def __init__(self, settings: CitationSettings) -> None:
        super().__init__(settings)
        self._entails: EntailsOne = lexical_support
        self._prefix = "" if settings.model else "lexical_"

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        how = "by the model of entailment" if self.settings.model else "by words alone, which is no entailment"
        label = "" if self.settings.model else " (lexical)"
        return {
            f"{self._prefix}citation_recall": Facts(
                f"Citation recall{label}", f"Share of sentences that their cited passages support, {how}."
            ),
            f"{self._prefix}citation_precision": Facts(
                f"Citation precision{label}", f"Share of citations that are needed, {how}."
            ),
        }

    def open(self, judges: Judges) -> None:
        """See `Metric.open`."""
        if self.settings.model is not None:
            self._entails = _one(judges.entails(self.settings.model), self.settings.threshold)

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`; an answer without sentences has none."""
        found = citations(
            cited_sentences(answered.answer), [_shown(passage) for passage in answered.passages], self._entails
        )
        return {
            f"{self._prefix}citation_recall": found.recall,
            f"{self._prefix}citation_precision": found.precision,
        }


def _shown(passage: Passage) -> str:
    """As ALCE shows passages to its judge."""
    return f"Title: {passage.source}\n{passage.text}" if passage.source else passage.text


def _one(entails: Entails, threshold: float) -> EntailsOne:
    return lambda premise, hypothesis: entails([(premise, hypothesis)])[0] >= threshold
