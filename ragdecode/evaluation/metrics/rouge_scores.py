"""The metric ``rouge``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field as SettingsField

from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.evaluation.metrics.rouge import rouge_l, rouge_lsum, rouge_n
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.text.sentences import sentence_spans

Variant = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
_TITLES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}


class RougeSettings(Settings):
    """Settings of ROUGE."""

    variants: tuple[Variant, ...] = SettingsField(default=("rouge1", "rouge2", "rougeL"), min_length=1)
    """Which of them; each is a value of its own."""


@register("metric", "rouge", RougeSettings)
class Rouge(Metric[RougeSettings]):
    """ROUGE F1 against the golden answer that fits best; words in lower case, no stemming."""

    needs: ClassVar[frozenset[Field]] = frozenset({"references"})

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        told = "F1 against the reference that fits best, without stemming."
        return {name: Facts(_TITLES[name], told) for name in self.settings.variants}

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        golden = answered.example.references
        return {name: _value(name, answered.answer, golden) if golden else None for name in self.settings.variants}


def _value(name: Variant, answer: str, golden: tuple[str, ...]) -> float:
    if name == "rougeLsum":
        return rouge_lsum(answer, golden, _sentences)
    return rouge_l(answer, golden) if name == "rougeL" else rouge_n(answer, golden, 1 if name == "rouge1" else 2)


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]
