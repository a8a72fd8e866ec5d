"""The metrics ``entailed`` and ``lexical_support``: sentences that a passage supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field as SettingsField

from ragdecode.evaluation.example import Answered
from ragdecode.evaluation.metric import Entails, Facts, Judges, Metric, Similarity
from ragdecode.evaluation.metrics.citations import cited_sentences, without_citations
from ragdecode.evaluation.metrics.lexical_support import lexical_support
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class EntailedSettings(Settings):
    """Settings of entailment."""

    model: Annotated[ModelSpec, Reference("models")]
    """A model of entailment, of kind ``cross_encoder``."""
    threshold: float = SettingsField(default=0.5, ge=0.0, le=1.0)
    """Least probability at which a passage entails a sentence."""


@register("metric", "entailed", EntailedSettings)
class Entailed(Metric[EntailedSettings]):
    """Share of the answer's sentences that a passage entails, by a model of natural-language inference."""

    _entails: Entails

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        told = "Share of sentences that a passage entails, by a model of natural-language inference."
        return {"entailed": Facts("Entailed", told)}

    def open(self, judges: Judges) -> None:
        """See `Metric.open`."""
        self._entails = judges.entails(self.settings.model)

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`; none without sentences or without passages."""
        sentences = _sentences(answered)
        if not sentences or not answered.passages:
            return {"entailed": None}
        pairs = [(passage.text, sentence) for sentence in sentences for passage in answered.passages]
        found = self._entails(pairs)
        width = len(answered.passages)
        best = [max(found[at : at + width]) for at in range(0, len(found), width)]
        return {"entailed": sum(one >= self.settings.threshold for one in best) / len(best)}


class LexicalSupportSettings(Settings):
    """Settings of lexical support."""

    encoder: Annotated[ModelSpec | None, Reference("models")] = None
    """A sentence encoder (kind ``encoder``), such as ``minilm``: passage and sentence must be alike, too."""
    similarity: float = SettingsField(default=0.5, ge=-1.0, le=1.0)
    """The cosine that their vectors must exceed, with an encoder."""


@register("metric", "lexical_support", LexicalSupportSettings)
class LexicalSupport(Metric[LexicalSupportSettings]):
    """Share of the answer's sentences whose words, numbers and names stand in one passage; no entailment."""

    def __init__(self, settings: LexicalSupportSettings) -> None:
        super().__init__(settings)
        self._similarity: Similarity | None = None

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        told = "Share of sentences whose content words (70 %), numbers and names stand in one passage; no entailment."
        return {"lexical_support": Facts("Lexical support", told)}

    def open(self, judges: Judges) -> None:
        """See `Metric.open`."""
        if self.settings.encoder is not None:
            self._similarity = judges.similarity(self.settings.encoder)

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`; none without sentences or without passages."""
        sentences = _sentences(answered)
        if not sentences or not answered.passages:
            return {"lexical_support": None}
        texts = [passage.text for passage in answered.passages]
        found = [[(text, one) for text in texts if lexical_support(text, one)] for one in sentences]
        if self._similarity is not None:
            found = [
                [pair for pair, alike in zip(pairs, self._similarity(pairs), strict=True) if alike > self._border]
                for pairs in found
            ]
        return {"lexical_support": sum(map(bool, found)) / len(found)}

    @property
    def _border(self) -> float:
        return self.settings.similarity


def _sentences(answered: Answered) -> list[str]:
    return [without_citations(sentence) for sentence in cited_sentences(answered.answer)]
