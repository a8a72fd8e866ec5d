"""The metrics ``conflict`` and ``memorisation``: what an answer says where the passage was changed (NQ-Swap)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.metric import CellMetric, CellRecords, Facts, Metric
from ragdecode.evaluation.metrics.answers import contains_answer, exact_match
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class ConflictSettings(Settings):
    """Settings of what an answer says."""

    match: Literal["exact", "contains"] = "exact"
    """``exact``: the answer equals the entity, normalised, as the papers count; ``contains``: it holds the entity as
    whole words and not the other one, for models that answer in sentences."""


@register("metric", "conflict", ConflictSettings)
class Conflict(Metric[ConflictSettings]):
    """Whether an answer says what the changed passage says, what was true before, or something else."""

    needs: ClassVar[frozenset[Field]] = frozenset({"references", "originals"})

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        return {
            "says_substitute": Facts("Substitute", "The answer is that of the passage as it was changed."),
            "says_original": Facts("Original", "The answer is the true one, against the passage.", False),
            "says_other": Facts("Other", "The answer is neither of the two, refusals among them.", False),
        }

    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """See `Metric.score`."""
        example = answered.example
        if not example.references or not example.originals:
            return dict.fromkeys(self.facts)
        match = exact_match if self.settings.match == "exact" else contains_answer
        substitute = bool(match(answered.answer, example.references))
        original = bool(match(answered.answer, example.originals))
        return {
            "says_substitute": float(substitute and not original),
            "says_original": float(original and not substitute),
            "says_other": float(substitute == original),
        }


class MemorisationSettings(Settings):
    """Settings of the memorisation ratio."""

    known: str = ""
    """Data set of the run with the same ids and the passages as they were: only what is answered rightly there counts,
    as the paper has it. All examples count if left out."""
    right: str = "exact_match"
    """Metric that says what is answered rightly there: at least 0.5."""


@register("metric", "memorisation", MemorisationSettings)
class Memorisation(CellMetric[MemorisationSettings]):
    """Memorisation ratio of Longpre et al. (EMNLP 2021): original answers among original and substitute ones."""

    needs: ClassVar[frozenset[Field]] = frozenset({"references", "originals"})

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `Metric.facts`."""
        of = "examples answered rightly with the original passage" if self.settings.known else "all examples"
        told = f"Share of original answers among original and substitute ones, over {of}."
        return {"memorisation_ratio": Facts("M_R", told, False)}

    @property
    def reads(self) -> Sequence[str]:
        """See `CellMetric.reads`."""
        return ("says_original", "says_substitute", *([self.settings.right] if self.settings.known else []))

    @property
    def datasets(self) -> Sequence[str]:
        """See `CellMetric.datasets`."""
        return (self.settings.known,) if self.settings.known else ()

    def of_cell(self, cell: CellRecords) -> Mapping[str, float | None]:
        """See `CellMetric.of_cell`; none if no answer is either of the two."""
        records = cell.records
        if self.settings.known:
            known = cell.others.get(self.settings.known, ())
            right = {one.id for one in known if (one.metrics.get(self.settings.right) or 0.0) >= 0.5}
            records = [one for one in records if one.id in right]
        original = sum(one.metrics.get("says_original") or 0.0 for one in records)
        substitute = sum(one.metrics.get("says_substitute") or 0.0 for one in records)
        total = original + substitute
        return {"memorisation_ratio": original / total if total else None}

    def why(self, cell: CellRecords) -> str:
        """See `CellMetric.why`."""
        return "no counted answer is the original or the substitute"
