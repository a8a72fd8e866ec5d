"""The metric ``retrieval``: how good the passages are that the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field as SettingsField
from pydantic import field_validator

from ragdecode.errors import InputError
from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.metric import Facts, Metric
from ragdecode.evaluation.ranking.measures import measure
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_TITLES = {"ndcg": "nDCG", "recall": "Recall", "precision": "Precision", "mrr": "MRR"}


class RetrievalSettings(Settings):
    """Settings of the measures of retrieval."""

    measures: tuple[str, ...] = SettingsField(default=("recall@5", "mrr@10", "ndcg@10"), min_length=1)
    """Of ``recall``, ``precision``, ``mrr`` and ``ndcg``, each with its cut-off."""

    @field_validator("measures")
    @classmethod
    def _known(cls, measures: tuple[str, ...]) -> tuple[str, ...]:
        for name in measures:
            try:
                measure(name)
            except InputError as error:
                raise ValueError(error.message) from error
        return measures


@register("metric", "retrieval", RetrievalSettings)
class RetrievalScores(Metric[RetrievalSettings]):
    """Recall, MRR and nDCG of the passages shown, against judged documents; as trec_eval defines them."""

    needs: ClassVar[frozenset[Field]] = frozenset({"relevant"})

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        made = {}
        for name in self.settings.measures:
            base, _, cut = name.partition("@")
            told = f"{_TITLES[base]} of the documents among the first {cut}, as trec_eval defines it."
            made[f"retrieval_{name}"] = Facts(f"Retrieval {_TITLES[base]}@{cut}", told)
        return made

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`; none where nobody judged, or nothing is relevant."""
        grades = answered.example.relevant
        if not any(grade >= 1 for grade in grades.values()):
            return dict.fromkeys(self.facts)
        ranking: list[str] = []
        for passage in answered.passages:  # a document ranks where its first passage does
            document = _document(passage.id, passage.metadata, grades)
            if document not in ranking:
                ranking.append(document)
        found = {}
        for name in self.settings.measures:
            value, cut = measure(name)
            found[f"retrieval_{name}"] = value(ranking, grades, cut)
        return found


def _document(identity: str, metadata: Mapping[str, object], grades: Mapping[str, int]) -> str:
    """The judged document of a passage: its own id where that is judged, else its record's."""
    record = metadata.get("record")
    return identity if identity in grades or record is None else str(record)
