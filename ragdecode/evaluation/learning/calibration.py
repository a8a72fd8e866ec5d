"""Log-odds of a model to probabilities that hold: by a fitted logistic curve, or by a fitted staircase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 100


def fit_platt(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope a and intercept b of ``p = 1 / (1 + exp(-(a x + b)))`` with the least log loss (Platt, 1999).

    Targets are ``(n+ + 1)/(n+ + 2)`` and ``1/(n- + 2)`` instead of 1 and 0, as there. The slope is never negative: a
    calibration keeps the order. With a slope of 0 the probability is that of the label.

    Args:
        logits: Of examples that the model was not fitted on ``[n]``.
        labels: ``[n]``, both kinds among them.
    """
    positive = int(labels.sum())
    negative = len(labels) - positive
    target = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(logits.mean()), float(logits.std())
    if spread == 0:
        return 0.0, float(np.log((positive + 1) / (negative + 1)))
    x = np.stack([(logits - centre) / spread, np.ones(len(logits))], axis=1)

    def loss(w: NDArray[np.float64]) -> float:
        z = x @ w
        return float((np.logaddexp(0.0, z) - target * z).sum())

    w = np.array([0.0, np.log((positive + 1) / (negative + 1))])
    now = loss(w)
    for _ in range(_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (x @ w)))
        gradient = x.T @ (p - target)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-10 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-9 and loss(w - size * step) > now:
            size /= 2
        w, before = w - size * step, now
        now = loss(w)
        if before - now <= 1e-12 * max(1.0, before):
            break
    if w[0] <= 0:
        return 0.0, float(np.log((positive + 1) / (negative + 1)))
    slope = float(w[0]) / spread
    return slope, float(w[1]) - slope * centre


def fit_isotonic(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """Corners of the non-decreasing curve that is nearest to the labels (pool adjacent violators, 1955).

    Between two corners the curve is a straight line, beyond the first and the last it is level. Each block counts one
    example more, of the overall frequency, so that no probability is 0 or 1.

    Args:
        logits: Of examples that the model was not fitted on ``[n]``.
        labels: ``[n]``, both kinds among them.

    Returns:
        Log-odds of the corners, ascending, and their probabilities.
    """
    base = float(labels.mean())
    levels, place = np.unique(logits, return_inverse=True)
    counts = np.bincount(place).astype(np.float64)
    hits = np.bincount(place, weights=labels.astype(np.float64))
    blocks: list[list[float]] = []  # first level, last level, hits, count
    for level, hit, count in zip(levels, hits, counts, strict=True):
        blocks.append([float(level), float(level), float(hit), float(count)])
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][3] >= blocks[-1][2] * blocks[-2][3]:
            _, last, hit_, count_ = blocks.pop()
            blocks[-1][1] = last
            blocks[-1][2] += hit_
            blocks[-1][3] += count_
    corners: list[float] = []
    values: list[float] = []
    for first, last, hit, count in blocks:
        value = (hit + base) / (count + 1)
        for at in dict.fromkeys((first, last)):
            corners.append(at)
            values.append(max(value, values[-1]) if values else value)
    return corners, values
