"""The metric ``confidence``: does a pipeline know when it is right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any, Literal

from pydantic import Field as SettingsField

from ragdecode.evaluation.metric import CellMetric, CellRecords, Facts
from ragdecode.evaluation.metrics import detection
from ragdecode.evaluation.runs.record import Record
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class ConfidenceSettings(Settings):
    """Settings of the metric."""

    by: Literal["probability", "lowest_probability", "faithfulness"] = "probability"
    """What says how sure the pipeline is: the geometric mean probability of the answer's tokens, the lowest of them,
    or the lowest ``faithfulness`` of its sentences (needs a monitor that scores them)."""
    right: str = "contains_answer"
    """Metric of the run that says which answers are right."""
    at_least: float = SettingsField(default=0.5, ge=0.0, le=1.0)
    """From which value of that metric on an answer is right."""
    bins: int = SettingsField(default=detection.BINS, ge=1, le=1000)
    """Bins of the calibration error, of equal mass."""


@register("metric", "confidence", ConfidenceSettings)
class Confidence(CellMetric[ConfidenceSettings]):
    """AUROC, AUPRC, balanced accuracy, calibration error and risk against coverage of a pipeline's confidence."""

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See `CellMetric.facts`."""
        by = f"{self.settings.by} against {self.settings.right}"
        return {
            "auroc": Facts("AUROC", f"How often a right answer has more confidence than a wrong one ({by})."),
            "auprc": Facts("AUPRC", f"Average precision of finding the right answers ({by}); compare base_rate."),
            "base_rate": Facts("Base rate", f"Share of right answers ({self.settings.right})."),
            "balanced_accuracy": Facts(
                "Balanced accuracy", f"With the threshold chosen on the other half of the examples ({by})."
            ),
            "ece": Facts("ECE", f"Calibration error over {self.settings.bins} bins of equal mass ({by}).", False),
            "aurc": Facts("AURC", f"Mean risk over all coverages ({by}).", False),
            "accuracy@50": Facts("Acc@50 %", f"Right answers among the most confident half ({by})."),
            "accuracy@80": Facts("Acc@80 %", f"Right answers among the most confident 80 % ({by})."),
        }

    @property
    def reads(self) -> Sequence[str]:
        """See `CellMetric.reads`."""
        return (self.settings.right,)

    def of_cell(self, cell: CellRecords) -> Mapping[str, float | None]:
        """See `CellMetric.of_cell`."""
        scores, right = self._pairs(cell.records)
        return {
            "auroc": detection.labelled_auroc(scores, right),
            "auprc": detection.average_precision(scores, right),
            "base_rate": sum(right) / len(right) if right else None,
            "balanced_accuracy": _crossed(scores, right),
            "ece": detection.calibration_error(scores, right, self.settings.bins),
            "aurc": detection.area_under_risk(scores, right),
            "accuracy@50": detection.accuracy_at_coverage(scores, right, 0.5),
            "accuracy@80": detection.accuracy_at_coverage(scores, right, 0.8),
        }

    def why(self, cell: CellRecords) -> str:
        """See `CellMetric.why`."""
        scores, right = self._pairs(cell.records)
        if not scores:
            return f"no answer has both {self.settings.by} and {self.settings.right}"
        return "all answers are right" if all(right) else "no answer is right" if not any(right) else "too few answers"

    def curve(self, cell: CellRecords) -> Mapping[str, Any] | None:
        """See `CellMetric.curve`: ROC, calibration and risk against coverage."""
        scores, right = self._pairs(cell.records)
        if not scores:
            return None
        return {
            "roc": _points(detection.roc_curve(scores, right)),
            "calibration": [asdict(one) for one in detection.calibration(scores, right, self.settings.bins)],
            "risk_coverage": _points(detection.risk_coverage(scores, right)),
        }

    def _pairs(self, records: Sequence[Record]) -> tuple[list[float], list[bool]]:
        """Confidence of each answer, and whether it is right; those that lack either are left out."""
        pairs = [
            (sure, right >= self.settings.at_least)
            for record in records
            if (sure := self._sure(record)) is not None
            and (right := record.metrics.get(self.settings.right)) is not None
        ]
        return [sure for sure, _ in pairs], [right for _, right in pairs]

    def _sure(self, record: Record) -> float | None:
        if self.settings.by == "faithfulness":
            scored = [one["faithfulness"] for one in record.sentences if one.get("faithfulness") is not None]
            return min(scored) if scored else None
        name = "confidence" if self.settings.by == "probability" else "lowest_probability"
        value = record.stats.get(name)
        return float(value) if value is not None else None


def _crossed(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Balanced accuracy with the threshold of each half chosen on the other; halves take turns by place."""
    found = []
    for side in (0, 1):
        dev, test = slice(1 - side, None, 2), slice(side, None, 2)
        threshold = detection.best_threshold(scores[dev], right[dev])
        if threshold is None:
            return None
        found.append(detection.balanced_accuracy(scores[test], right[test], threshold))
    known = [one for one in found if one is not None]
    return sum(known) / 2 if len(known) == 2 else None


def _points(points: Sequence[detection.Point]) -> list[dict[str, float | None]]:
    return [{"x": one.x, "y": one.y, "threshold": one.threshold if isfinite(one.threshold) else None} for one in points]
