"""Detection, calibration and selective answering against slow twins and hand-computed values."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from ragdecode.evaluation.metrics.detection import (
    accuracy_at_coverage,
    area_under_risk,
    average_precision,
    balanced_accuracy,
    best_threshold,
    calibration,
    calibration_error,
    labelled_auroc,
    precision_recall_curve,
    risk_coverage,
    roc_curve,
)


def draws(count=60, levels=6):
    """Scores with many ties, and labels."""
    draw = random.Random(7)
    for _ in range(count):
        n = draw.randrange(1, 14)
        yield [draw.randrange(levels) / 8 for _ in range(n)], [draw.random() < 0.4 for _ in range(n)]


def test_auroc_of_labels_counts_pairs():
    for scores, labels in draws():
        above = [score for score, label in zip(scores, labels, strict=True) if label]
        below = [score for score, label in zip(scores, labels, strict=True) if not label]
        if not above or not below:
            assert labelled_auroc(scores, labels) is None
            assert roc_curve(scores, labels) == []
            continue
        pairs = [(one > other) + 0.5 * (one == other) for one in above for other in below]
        found = labelled_auroc(scores, labels)
        assert found == pytest.approx(sum(pairs) / len(pairs))
        curve = roc_curve(scores, labels)
        area = sum((b.x - a.x) * (a.y + b.y) / 2 for a, b in pairwise(curve))
        assert area == pytest.approx(found)  # the trapezium rule over the curve is the same area


def test_average_precision_is_a_sum_over_thresholds():
    for scores, labels in draws():
        total = sum(labels)
        if not total:
            assert average_precision(scores, labels) is None
            continue
        area, before = 0.0, 0.0
        for threshold in sorted(set(scores), reverse=True):
            taken = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
            recall = sum(taken) / total
            area += (recall - before) * sum(taken) / len(taken)
            before = recall
        assert average_precision(scores, labels) == pytest.approx(area)
        assert precision_recall_curve(scores, labels)[-1].y == pytest.approx(total / len(labels))


def test_the_best_threshold_is_the_best_of_all():
    for scores, labels in draws():
        found = best_threshold(scores, labels)
        if found is None:
            assert len(set(labels)) < 2
            continue
        assert found in scores
        best = max(balanced_accuracy(scores, labels, threshold) for threshold in scores)
        assert balanced_accuracy(scores, labels, found) == pytest.approx(best)
    assert balanced_accuracy([0.9, 0.2], [True, False], 0.5) == 1.0
    assert balanced_accuracy([0.9, 0.2, 0.6, 0.1], [True, True, False, False], 0.5) == 0.5
    assert balanced_accuracy([0.5], [True], 0.5) is None


def test_calibration_error_by_hand():
    probabilities = [0.1, 0.1, 0.3, 0.3, 0.9, 0.9]
    labels = [False, False, True, False, True, False]
    parts = calibration(probabilities, labels, 3)
    assert [(part.n, part.predicted, part.observed) for part in parts] == [(2, 0.1, 0.0), (2, 0.3, 0.5), (2, 0.9, 0.5)]
    assert calibration_error(probabilities, labels, 3) == pytest.approx((0.1 + 0.2 + 0.4) / 3)
    assert [part.n for part in calibration([0.5] * 17, [True] * 17)] == [2, 2] + [1] * 13  # equal mass, 15 bins
    assert calibration_error([], []) is None
    assert calibration_error([1.0, 0.0], [True, False]) == 0.0
    for wrong in ([1.1], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="probabilities|finite"):
            calibration(wrong, [True])


def test_risk_and_coverage_by_hand():
    confidences = [0.9, 0.8, 0.8, 0.1]
    right = [True, True, False, False]
    curve = risk_coverage(confidences, right)
    assert [(point.x, round(point.y, 6)) for point in curve] == [(0.25, 0.0), (0.75, 0.333333), (1.0, 0.5)]
    # coverages 1/4 to 1; inside the tie half of the answers are right
    assert area_under_risk(confidences, right) == pytest.approx((0 + (1 - 1.5 / 2) + 1 / 3 + 1 / 2) / 4)
    assert accuracy_at_coverage(confidences, right, 0.5) == pytest.approx(1.5 / 2)
    assert accuracy_at_coverage(confidences, right, 0.01) == 1.0  # at least one is answered
    assert accuracy_at_coverage(confidences, right, 1.0) == 0.5
    assert (risk_coverage([], []), area_under_risk([], []), accuracy_at_coverage([], [], 0.5)) == ([], None, None)
    with pytest.raises(ValueError, match="coverage"):
        accuracy_at_coverage(confidences, right, 0.0)


def test_the_area_under_risk_is_the_mean_over_orders_of_ties():
    draw = random.Random(3)
    for scores, labels in draws(20, 3):
        areas = []
        for _ in range(3000):
            order = sorted(range(len(scores)), key=lambda at: (-scores[at], draw.random()))
            hits = [labels[at] for at in order]
            areas.append(sum(1 - sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))) / len(hits))
        assert area_under_risk(scores, labels) == pytest.approx(sum(areas) / len(areas), abs=0.02)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one label a score"):
        labelled_auroc([0.1, 0.2], [True])
    with pytest.raises(ValueError, match="finite"):
        average_precision([math.inf], [True])
