"""Gradient-boosted trees with exact splits, for a few thousand examples of a few features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What stands for "no feature": the node is a leaf.
LEAF = -1


@dataclass(frozen=True)
class TreeSettings:
    """How trees are grown.

    Attributes:
        rounds: Trees.
        depth: Splits from the root to a leaf, at most.
        rate: What a tree's values are multiplied by (shrinkage).
        penalty: Weight of the squared leaf values (lambda).
        least: Least sum of curvatures ``p (1 - p)`` in a leaf.
    """

    rounds: int = 100
    depth: int = 3
    rate: float = 0.1
    penalty: float = 1.0
    least: float = 1.0


@dataclass(frozen=True)
class Trees:
    """Fitted trees as flat arrays over all nodes; children have higher numbers than their parents.

    Attributes:
        intercept: Log-odds before the first tree.
        roots: The root of each tree ``[T]``.
        feature: The feature that a node looks at, `LEAF` at a leaf ``[M]``.
        threshold: Values up to it, itself included, go left ``[M]``.
        missing_left: Whether an example without the feature goes left ``[M]``.
        left, right: Children; 0 at a leaf ``[M]``.
        value: A leaf's log-odds, shrinkage included; 0 elsewhere ``[M]``.
    """

    intercept: float
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]

    def first(self, rounds: int) -> Trees:
        """The first trees alone: what fewer rounds would have made."""
        return replace(self, roots=self.roots[:rounds])

    def logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds ``[n]`` of features ``[n, F]``; NaN is a missing value."""
        rows = np.arange(len(features))
        total = np.full(len(features), self.intercept)
        for root in self.roots:
            node = np.full(len(features), root)
            while (inner := self.feature[node] != LEAF).any():
                value = features[rows, np.maximum(self.feature[node], 0)]
                left = np.where(np.isnan(value), self.missing_left[node], value <= self.threshold[node])
                node = np.where(inner, np.where(left, self.left[node], self.right[node]), node)
            total += self.value[node]
        return total


def fit_trees(features: NDArray[np.float64], labels: NDArray[np.bool_], settings: TreeSettings) -> Trees:
    """Boost trees on the logistic loss by Newton steps, as in XGBoost (Chen and Guestrin, 2016), with exact splits.

    A split's gain is ``G_l^2/(H_l+lambda) + G_r^2/(H_r+lambda) - G^2/(H+lambda)`` over gradients G and curvatures H.
    Both sides are tried for examples without the feature; where there are none, the heavier one is theirs. Thresholds
    lie midway between neighbouring values. Of equal gains the first feature and the lowest threshold win.

    Args:
        features: ``[n, F]``; NaN is a missing value.
        labels: ``[n]``, both kinds among them.
        settings: How trees are grown.
    """
    share = labels.mean()
    intercept = float(np.log(share / (1 - share)))
    grower = _Grower(features, settings)
    logits = np.full(len(features), intercept)
    for _ in range(settings.rounds):
        p = 0.5 * (1.0 + np.tanh(0.5 * logits))
        if not grower.grow(p - labels, p * (1 - p), logits):
            break
    return grower.trees(intercept)


class _Grower:
    def __init__(self, features: NDArray[np.float64], settings: TreeSettings) -> None:
        self._features, self._settings = features, settings
        # each feature's examples by value, those without it last
        self._order = [np.argsort(column, kind="stable") for column in features.T]
        self._roots: list[int] = []
        self._nodes: list[tuple[int, float, bool, int, int, float]] = []

    def trees(self, intercept: float) -> Trees:
        feature, threshold, missing, left, right, value = zip(*self._nodes, strict=True) if self._nodes else [()] * 6
        return Trees(
            intercept,
            np.asarray(self._roots, np.int32),
            np.asarray(feature, np.int32),
            np.asarray(threshold, np.float64),
            np.asarray(missing, np.bool_),
            np.asarray(left, np.int32),
            np.asarray(right, np.int32),
            np.asarray(value, np.float64),
        )

    def grow(self, gradient: NDArray[np.float64], curvature: NDArray[np.float64], logits: NDArray[np.float64]) -> bool:
        """Add a tree and its values to the log-odds; false if no split helps."""
        first = len(self._nodes)
        self._node(np.ones(len(logits), np.bool_), self._order, gradient, curvature, logits, self._settings.depth)
        if len(self._nodes) == first + 1:
            del self._nodes[first:]
            return False
        self._roots.append(first)
        return True

    def _node(
        self,
        inside: NDArray[np.bool_],
        order: Sequence[NDArray[np.int64]],
        gradient: NDArray[np.float64],
        curvature: NDArray[np.float64],
        logits: NDArray[np.float64],
        depth: int,
    ) -> int:
        """Grow a node and what is below it; its number. ``order`` holds the node's examples by feature."""
        number = len(self._nodes)
        self._nodes.append((LEAF, 0.0, False, 0, 0, 0.0))
        best = max((self._split(place, rows, gradient, curvature) for place, rows in enumerate(order)), default=None)
        total, weight = gradient[inside].sum(), curvature[inside].sum()
        if depth == 0 or best is None or best[0] <= 1e-9:
            value = -self._settings.rate * float(total / (weight + self._settings.penalty))
            self._nodes[number] = (LEAF, 0.0, False, 0, 0, value)
            if number not in self._roots:
                logits[inside] += value
            return number
        _, negative_place, negative_threshold, missing = best
        place, threshold = -negative_place, -negative_threshold
        column = self._features[:, place]
        goes = np.where(np.isnan(column), missing, column <= threshold) & inside
        sides = []
        for part in (goes, inside & ~goes):
            below = [rows[part[rows]] for rows in order]
            sides.append(self._node(part, below, gradient, curvature, logits, depth - 1))
        self._nodes[number] = (place, threshold, missing, sides[0], sides[1], 0.0)
        return number

    def _split(
        self, place: int, rows: NDArray[np.int64], gradient: NDArray[np.float64], curvature: NDArray[np.float64]
    ) -> tuple[float, int, float, bool]:
        """The best split by a feature: gain, minus the feature, minus the threshold, side of the missing ones."""
        nothing = (0.0, -place, 0.0, False)
        values = self._features[rows, place]
        known = len(values) - int(np.isnan(values).sum())
        cuts = np.flatnonzero(values[: max(known - 1, 0)] < values[1:known])  # the last example that goes left
        if not len(cuts):
            return nothing
        g, h = gradient[rows], curvature[rows]
        missing_g, missing_h = g[known:].sum(), h[known:].sum()
        total_g, total_h = g.sum(), h.sum()
        left_g, left_h = np.cumsum(g[:known])[cuts], np.cumsum(h[:known])[cuts]
        best = nothing
        for missing in (False, True) if known < len(values) else (False,):
            one_g, one_h = left_g + missing * missing_g, left_h + missing * missing_h
            other_g, other_h = total_g - one_g, total_h - one_h
            gain = self._worth(one_g, one_h) + self._worth(other_g, other_h) - self._worth(total_g, total_h)
            gain = np.where((one_h >= self._settings.least) & (other_h >= self._settings.least), gain, 0.0)
            at = int(gain.argmax())
            if gain[at] > best[0]:
                cut = cuts[at]
                middle = (values[cut] + values[cut + 1]) / 2
                side = missing if known < len(values) else bool(2 * left_h[at] > total_h)
                best = (float(gain[at]), -place, -float(middle if middle < values[cut + 1] else values[cut]), side)
        return best

    def _worth(self, gradient: NDArray[np.float64], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
        worth: NDArray[np.float64] = gradient * gradient / (curvature + self._settings.penalty)
        return worth
