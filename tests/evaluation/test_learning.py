"""Boosted trees and calibration against brute force, and on data whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ragdecode.evaluation.learning.calibration import fit_isotonic, fit_platt
from ragdecode.evaluation.learning.trees import LEAF, TreeSettings, fit_trees
from ragdecode.evaluation.metrics.detection import labelled_auroc


def walk(trees, row):
    """The walk, spelled out for one example."""
    total = trees.intercept
    for root in trees.roots:
        node = int(root)
        while trees.feature[node] != LEAF:
            value = row[trees.feature[node]]
            left = trees.missing_left[node] if math.isnan(value) else value <= trees.threshold[node]
            node = int(trees.left[node] if left else trees.right[node])
        total += trees.value[node]
    return total


def best_stump(features, labels, penalty, least):
    """Gain of the best of all splits of one node, by trying every one; missing examples on either side."""
    share = labels.mean()
    gradient, curvature = share - labels, np.full(len(labels), share * (1 - share))

    def worth(rows):
        return gradient[rows].sum() ** 2 / (curvature[rows].sum() + penalty)

    best = 0.0
    for column in features.T:
        known = ~np.isnan(column)
        for value in np.unique(column[known]):
            for missing in (False, True):
                left = np.where(known, column <= value, missing)
                if min(curvature[left].sum(), curvature[~left].sum()) >= least:
                    best = max(best, worth(left) + worth(~left) - worth(np.ones(len(labels), bool)))
    return best


def gain_of(trees, features, labels, penalty):
    share = labels.mean()
    gradient, curvature = share - labels, np.full(len(labels), share * (1 - share))
    column = features[:, trees.feature[0]]
    left = np.where(np.isnan(column), trees.missing_left[0], column <= trees.threshold[0])
    parts = (left, ~left, np.ones(len(labels), bool))
    one, other, whole = (gradient[rows].sum() ** 2 / (curvature[rows].sum() + penalty) for rows in parts)
    return one + other - whole, left, gradient, curvature


@pytest.mark.parametrize("seed", range(12))
def test_the_first_split_is_the_best_of_all_and_leaves_are_newton_steps(seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 5, (60, 3)).astype(float)
    features[rng.random((60, 3)) < (0.15 if seed % 2 else 0.0)] = np.nan
    labels = rng.random(60) < 0.3 + 0.1 * np.nan_to_num(features[:, 1])
    trees = fit_trees(features, labels, TreeSettings(rounds=1, depth=1, rate=0.5, penalty=0.7, least=0.8))
    gain, left, gradient, curvature = gain_of(trees, features, labels, 0.7)
    assert gain == pytest.approx(best_stump(features, labels, 0.7, 0.8))
    for side, rows in ((trees.left[0], left), (trees.right[0], ~left)):
        assert trees.value[side] == pytest.approx(-0.5 * gradient[rows].sum() / (curvature[rows].sum() + 0.7))


def test_a_walk_over_all_examples_is_the_walk_of_each():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 4))
    features[rng.random((200, 4)) < 0.1] = np.nan
    labels = np.nan_to_num(features[:, 0] * features[:, 1]) > 0
    trees = fit_trees(features, labels, TreeSettings(rounds=15))
    assert trees.logits(features) == pytest.approx([walk(trees, row) for row in features])
    assert trees.first(4).logits(features) == pytest.approx(
        fit_trees(features, labels, TreeSettings(rounds=4)).logits(features)
    )
    assert (fit_trees(features, labels, TreeSettings(rounds=15)).threshold == trees.threshold).all()


def test_trees_learn_what_no_line_can_tell_and_nothing_from_noise():
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (900, 3))
    labels = np.abs(features[:, 0]) > 0.5
    trees = fit_trees(features[:600], labels[:600], TreeSettings(depth=2))
    assert labelled_auroc(trees.logits(features[600:]).tolist(), labels[600:].tolist()) > 0.98
    alike = fit_trees(np.zeros((50, 2)), np.arange(50) < 10, TreeSettings())
    assert not len(alike.roots)
    assert alike.logits(np.ones((3, 2))) == pytest.approx(math.log(0.2 / 0.8))


def test_what_is_missing_tells_too():
    rng = np.random.default_rng(1)
    labels = rng.random(400) < 0.5
    features = rng.normal(size=(400, 1))
    features[labels & (rng.random(400) < 0.8)] = np.nan
    trees = fit_trees(features, labels, TreeSettings(rounds=20, depth=1))
    assert trees.logits(np.array([[np.nan]]))[0] > 2
    assert trees.logits(np.array([[0.0]]))[0] < 0


def test_platt_is_the_best_curve_of_a_fine_grid():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=300) * 3
    labels = rng.random(300) < 1 / (1 + np.exp(-(0.6 * logits + 1.5)))
    slope, offset = fit_platt(logits, labels)
    positive = int(labels.sum())
    target = np.where(labels, (positive + 1) / (positive + 2), 1 / (300 - positive + 2))

    def loss(a, b):
        z = a * logits + b
        return (np.logaddexp(0, z) - target * z).sum()

    around = itertools.product(np.linspace(-0.2, 0.2, 9), np.linspace(-0.4, 0.4, 9))
    assert all(loss(slope, offset) <= loss(slope + da, offset + db) + 1e-9 for da, db in around)
    assert slope == pytest.approx(0.6, abs=0.15)
    assert offset == pytest.approx(1.5, abs=0.35)


def test_platt_never_turns_an_order_around():
    logits, labels = np.array([2.0, 1.0, -1.0, -2.0] * 10), np.array([False, False, True, True] * 10)
    assert fit_platt(logits, labels) == (0.0, 0.0)
    assert fit_platt(np.ones(4), np.array([True, True, True, False]))[0] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_rises_keeps_to_blocks_and_says_never_nothing_or_all(seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 12, 80).astype(float)
    labels = rng.random(80) < logits / 14
    labels[:2] = [True, False]
    corners, values = fit_isotonic(logits, labels)
    assert corners == sorted(set(corners))
    assert values == sorted(values)
    assert 0 < values[0] <= values[-1] < 1
    # the unsmoothed curve is the max-min formula of isotonic regression (Robertson et al., 1988)
    levels = np.unique(logits)
    means = [
        max(
            min(labels[(logits >= low) & (logits <= high)].mean() for high in levels if high >= level)
            for low in levels
            if low <= level
        )
        for level in levels
    ]
    at = np.interp(levels, corners, values)
    for (one, a), (other, b) in itertools.pairwise(zip(means, at, strict=True)):
        assert (abs(one - other) < 1e-12) == (abs(a - b) < 1e-12) or abs(a - b) < 0.05
