"""How well a score tells two kinds of examples apart, how honest it is as a probability, and when to trust it.

Scores and labels come as two sequences of equal length. A label is true for a positive example: an unfaithful sentence
where faults are looked for, a right answer where confidence is judged. What cannot be computed, because one of the two
kinds is missing, is None; scores that are not finite are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: bins of the calibration error, of equal mass
BINS = 15


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Attributes:
        x: False-positive rate, recall, or coverage.
        y: True-positive rate, precision, or risk.
        threshold: Examples whose score is at least this are taken; infinite where none is.
    """

    x: float
    y: float
    threshold: float


@dataclass(frozen=True)
class Bin:
    """Examples of about the same predicted probability.

    Attributes:
        low: Lowest of their probabilities.
        high: Highest of them.
        predicted: Mean of them.
        observed: Share of positive examples among them.
        n: How many examples.
    """

    low: float
    high: float
    predicted: float
    observed: float
    n: int


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: how often a positive example scores above a negative one; ties count half.

    NaN where one of the two kinds is missing.
    """
    import numpy as np

    if not len(positive) or not len(negative):
        return float("nan")
    above, below = np.asarray(positive, np.float64), np.sort(np.asarray(negative, np.float64))
    left, right = (np.searchsorted(below, above, side) for side in ("left", "right"))
    return float((left + right).sum() / (2 * len(above) * len(below)))


def labelled_auroc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """`auroc` of scores with their labels; None where one of the two kinds is missing.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    values, truth = _arrays(scores, labels)
    if truth.all() or not truth.any():
        return None
    return auroc(values[truth].tolist(), values[~truth].tolist())


def average_precision(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Area under the precision-recall curve by steps, without interpolation; None without a positive example.

    The sum over thresholds of precision times the gain in recall; examples of equal score enter together. By chance
    it is the share of positive examples: report that beside it.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    values, truth = _arrays(scores, labels)
    if not truth.any():
        return None
    hits, taken, _ = _cumulated(values, truth)
    gains = (hits - _shifted(hits)) / hits[-1]
    return float((gains * hits / taken).sum())


def roc_curve(scores: Sequence[float], labels: Sequence[bool]) -> list[Point]:
    """Rates of false and of true positives by falling threshold, from (0, 0) to (1, 1); empty without both kinds.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    values, truth = _arrays(scores, labels)
    if truth.all() or not truth.any():
        return []
    hits, taken, thresholds = _cumulated(values, truth)
    false = (taken - hits) / (len(truth) - hits[-1])
    true = hits / hits[-1]
    return [Point(0.0, 0.0, float("inf")), *map(Point, false.tolist(), true.tolist(), thresholds.tolist())]


def precision_recall_curve(scores: Sequence[float], labels: Sequence[bool]) -> list[Point]:
    """Recall and precision by falling threshold; empty without a positive example.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    values, truth = _arrays(scores, labels)
    if not truth.any():
        return []
    hits, taken, thresholds = _cumulated(values, truth)
    return list(map(Point, (hits / hits[-1]).tolist(), (hits / taken).tolist(), thresholds.tolist()))


def balanced_accuracy(scores: Sequence[float], labels: Sequence[bool], threshold: float) -> float | None:
    """Mean of the true-positive and the true-negative rate, where a score of at least the threshold says positive.

    None where one of the two kinds is missing. Choose the threshold on other examples than these.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    values, truth = _arrays(scores, labels)
    if truth.all() or not truth.any():
        return None
    said = values >= threshold
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def best_threshold(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The threshold of the highest balanced accuracy, the highest one of equals; None without both kinds.

    It is one of the scores, and a score of at least the threshold says positive.

    Raises:
        ValueError: The lengths differ, or a score is not finite.
    """
    curve = roc_curve(scores, labels)[1:]
    return max(curve, key=lambda point: (point.y - point.x, point.threshold)).threshold if curve else None


def calibration(probabilities: Sequence[float], labels: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Bins of equal mass by rising probability: sizes differ by at most one. Fewer examples than bins: one each.

    Raises:
        ValueError: The lengths differ, or a probability is not between 0 and 1.
    """
    import numpy as np

    values, truth = _arrays(probabilities, labels)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise ValueError("probabilities lie between 0 and 1")
    order = np.argsort(values, kind="stable")
    return [
        Bin(
            float(values[part].min()), float(values[part].max()), float(values[part].mean()), float(truth[part].mean()),
            len(part),
        )
        for part in np.array_split(order, max(1, min(bins, len(order))))
        if len(part)
    ]  # fmt: skip


def calibration_error(probabilities: Sequence[float], labels: Sequence[bool], bins: int = BINS) -> float | None:
    """Expected calibration error (ECE): how far probabilities are from the shares observed, over bins of equal mass.

    None without examples. It is 0 for honest probabilities, and grows by chance with few examples in a bin.

    Raises:
        ValueError: The lengths differ, or a probability is not between 0 and 1.
    """
    parts = calibration(probabilities, labels, bins)
    total = sum(part.n for part in parts)
    return sum(part.n * abs(part.predicted - part.observed) for part in parts) / total if total else None


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[Point]:
    """Share of wrong answers among those answered, by rising share answered, the most confident first.

    Answers of equal confidence enter together. Empty without examples.

    Raises:
        ValueError: The lengths differ, or a confidence is not finite.
    """
    values, truth = _arrays(confidences, right)
    if not len(values):
        return []
    hits, taken, thresholds = _cumulated(values, truth)
    return list(map(Point, (taken / len(values)).tolist(), (1 - hits / taken).tolist(), thresholds.tolist()))


def area_under_risk(confidences: Sequence[float], right: Sequence[bool]) -> float | None:
    """Area under the risk-coverage curve (AURC): mean risk over coverages 1/n to 1; lower is better, None without any.

    Answers of equal confidence are taken in a mean order: at a coverage inside them, their share of wrong ones counts.

    Raises:
        ValueError: The lengths differ, or a confidence is not finite.
    """
    import numpy as np

    values, truth = _arrays(confidences, right)
    if not len(values):
        return None
    hits, taken, _ = _cumulated(values, truth)
    sizes = taken - _shifted(taken)
    rates = (hits - _shifted(hits)) / sizes
    gained = np.cumsum(np.repeat(rates, sizes.astype(int)))  # expected right answers among the first k
    return float((1 - gained / np.arange(1, len(values) + 1)).mean())


def accuracy_at_coverage(confidences: Sequence[float], right: Sequence[bool], coverage: float) -> float | None:
    """Share of right answers when the most confident share is answered, at least one; None without examples.

    Of answers of equal confidence at the border, their share of right ones counts.

    Raises:
        ValueError: The lengths differ, a confidence is not finite, or the coverage is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise ValueError("the coverage lies above 0 and is at most 1")
    values, truth = _arrays(confidences, right)
    if not len(values):
        return None
    wanted = max(1, round(coverage * len(values)))
    hits, taken, _ = _cumulated(values, truth)
    at = int((taken >= wanted).argmax())
    before, known = (float(taken[at - 1]), float(hits[at - 1])) if at else (0.0, 0.0)
    inside = (float(hits[at]) - known) / (float(taken[at]) - before)
    return (known + inside * (wanted - before)) / wanted


def _arrays(scores: Sequence[float], labels: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    import numpy as np

    values, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"expected one label a score, found {values.shape} scores and {truth.shape} labels")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values, truth


def _cumulated(
    values: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positives and examples at or above each different score, highest first, and the scores."""
    import numpy as np

    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    return np.cumsum(truth[order])[ends].astype(np.float64), (ends + 1).astype(np.float64), values[order][ends]


def _shifted(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's predecessor; 0 before the first."""
    import numpy as np

    return np.concatenate(([0.0], values[:-1]))
