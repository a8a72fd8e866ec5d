"""Logistic regression with an L2 penalty, its strength chosen by cross-validation over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Strengths that are tried: the inverse of the penalty's weight, as in most libraries.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
_STEPS = 50
_CLOSE = 1e-8


@dataclass(frozen=True)
class Logistic:
    """A fitted model.

    Attributes:
        coefficients: One a feature ``[F]``.
        intercept: Not penalised.
    """

    coefficients: NDArray[np.float64]
    intercept: float

    def logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds ``[n]`` of features ``[n, F]``."""
        logits: NDArray[np.float64] = features @ self.coefficients + self.intercept
        return logits


def fit(features: NDArray[np.float64], labels: NDArray[np.bool_], strength: float) -> Logistic:
    """Minimise ``|w|^2 / 2 + strength sum log(1 + exp(-y (x w + b)))`` by Newton's method with halved steps.

    Args:
        features: ``[n, F]``.
        labels: ``[n]``, both kinds among them.
        strength: The weight of the data against the penalty.
    """
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    penalty = np.ones(x.shape[1])
    penalty[-1] = 0.0
    signs = np.where(labels, 1.0, -1.0)

    def loss(w: NDArray[np.float64]) -> float:
        return float(0.5 * (penalty * w * w).sum() + strength * np.logaddexp(0.0, -signs * (x @ w)).sum())

    w = np.zeros(x.shape[1])
    now = loss(w)
    for _ in range(_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (x @ w)))
        gradient = penalty * w + strength * (x.T @ (p - labels))
        if np.abs(gradient).max() < _CLOSE * max(1.0, strength * len(x)):
            break
        curvature = (x * (strength * p * (1.0 - p))[:, None]).T @ x + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > _CLOSE and loss(w - size * step) > now:
            size /= 2.0
        w = w - size * step
        before, now = now, loss(w)
        if before - now <= _CLOSE * max(1.0, abs(before)):
            break
    return Logistic(w[:-1], float(w[-1]))


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """How often a positive scores above a negative; ties count half. NaN if one kind is missing."""
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0  # the mean rank of each value
    return float((ranks[inverse][labels].sum() - positive * (positive + 1) / 2.0) / (positive * negative))


def folds(groups: Sequence[int], count: int, seed: int = 0) -> list[NDArray[np.bool_]]:
    """Members of each fold, bool ``[n]``; a group is never split."""
    names = np.unique(np.asarray(groups))
    shuffled = np.random.default_rng(seed).permutation(names)
    return [np.isin(groups, part) for part in np.array_split(shuffled, min(count, len(names)))]


def best_strength(
    features: NDArray[np.float64], labels: NDArray[np.bool_], parts: Sequence[NDArray[np.bool_]]
) -> float:
    """The strength with the best mean AUC over folds; of equal ones the smallest."""
    means = []
    for strength in STRENGTHS:
        values = [
            auc(fit(features[~part], labels[~part], strength).logits(features[part]), labels[part])
            for part in parts
            if labels[~part].any() and not labels[~part].all()
        ]
        known = [value for value in values if not np.isnan(value)]
        means.append(sum(known) / len(known) if known else 0.0)
    return STRENGTHS[means.index(max(means))]
