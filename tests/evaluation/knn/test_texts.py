"""Repetition, entropy growth, MAUVE and verdicts against naive references and figures of the published code."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ragdecode.evaluation.knn.findings import verdict
from ragdecode.evaluation.knn.growth import growth, slopes
from ragdecode.evaluation.knn.mauve import area, mauve
from ragdecode.evaluation.knn.repetition import diversity, repetition, summary
from tests.evaluation.knn.test_ledger import made


def test_repetition_counts_grams_that_were_there_before():
    tokens = [1, 2, 1, 2, 1, 3]
    grams = [tuple(tokens[at : at + 2]) for at in range(5)]
    assert repetition(tokens, 2) == 1 - len(set(grams)) / len(grams) == pytest.approx(0.4)
    assert diversity(tokens) == pytest.approx((1 - 2 / 5) * (1 - 1 / 4) * (1 - 0))
    assert repetition([1], 2) is None
    assert diversity([1, 2, 3]) is None
    told = summary([[1, 1, 1, 1], [2, 3, 4, 5]])
    assert told["rep"][0] == pytest.approx((0.75 + 0) / 2)
    assert told["distinct"][0] == pytest.approx(5 / 8)


def test_slopes_are_those_of_least_squares():
    values = np.random.default_rng(0).normal(size=(5, 40))
    expected = [np.polyfit(np.arange(40), row, 1)[0] for row in values]
    assert slopes(values) == pytest.approx(expected)
    assert slopes(values[:, :1]).tolist() == [0.0] * 5


def test_growth_tells_a_rise_of_the_votes_from_one_of_the_model():
    base = made(400)
    steps = np.tile(np.arange(100), 4)
    gold = replace(base, lm_entropy=np.full(400, 2.0), entropy=np.full(400, 1.0))
    rising = replace(gold, lm_entropy=2.0 + 0.01 * steps, entropy=1.0 + 0.03 * steps)
    told = growth({"gold": gold, "knn_lm": rising}, 4)
    assert told["slopes"]["knn_lm"]["votes"]["estimate"] == pytest.approx(3.0)
    assert told["slopes"]["knn_lm"]["apart"]["estimate"] == pytest.approx(2.0)
    assert told["difference"]["knn_lm"]["estimate"] == pytest.approx(0.02 * 49.5)
    assert set(told["difference"]) == {"knn_lm"}
    curve = told["curves"]["knn_lm"]["votes"]
    assert len(curve) == len(told["steps"])
    assert curve[0] == pytest.approx(1.0 + 0.03 * (told["steps"][0] - 1))


#: pairs of histograms, and what mauve-text 0.4.0 gives for them
_PUBLISHED = [
    (
        [0.0, 0.098905, 0.109052, 0.03844, 0.00985, 0.000819, 0.268561, 0.474373],
        [0.136224, 0.283058, 0.053134, 0.216502, 0.00516, 0.101414, 0.03698, 0.167528],
        0.258314,
    ),
    (
        [0.0, 8.7e-05, 0.200259, 0.073744, 0.056047, 0.265387, 0.128122, 0.276354],
        [0.028165, 7.7e-05, 0.216551, 0.170357, 0.231666, 0.234766, 0.003842, 0.114574],
        0.658797,
    ),
]


@pytest.mark.parametrize(("own", "other", "published"), _PUBLISHED)
def test_the_area_is_that_of_the_published_code_and_of_the_definition(own, other, published):
    first, second = (np.array(one) / sum(one) for one in (own, other))
    assert area(first, second) == pytest.approx(published, abs=1e-4)
    points = [(0.0, 1.0)]
    for at in range(25):
        weight = 1e-6 + at * (1 - 2e-6) / 24
        between = [weight * p + (1 - weight) * q for p, q in zip(first, second, strict=True)]
        right = sum(q * math.log(q / r) for q, r in zip(second, between, strict=True) if q)
        up = sum(p * math.log(p / r) for p, r in zip(first, between, strict=True) if p)
        points.append((math.exp(-5 * right), math.exp(-5 * up)))
    points = sorted([*points, (1.0, 0.0)], key=lambda point: (point[0], -point[1]))
    pairs = pairwise(points)
    assert area(first, second) == pytest.approx(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs))


def test_mauve_is_high_for_texts_of_a_kind_and_low_for_others():
    draw = np.random.default_rng(0)
    one, same = draw.normal(size=(2, 100, 12))
    other = draw.normal(size=(100, 12)) + 4 * np.eye(12)[0]
    alike, unlike = mauve(one, same), mauve(one, other)
    assert alike > 0.8
    assert unlike < 0.2
    assert mauve(one, other) == unlike
    with pytest.raises(ValueError, match="at least two texts"):
        mauve(one[:1], same)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [(0.1, 0.3, "confirmed", "not"), (-0.3, -0.1, "not", "confirmed"), (-0.1, 0.1, "undecided", "undecided"),
     (None, None, "undecided", "undecided")],
)  # fmt: skip
def test_verdicts_are_of_whole_intervals(low, high, above, below):
    interval = {"estimate": 0.0, "low": low, "high": high}
    assert verdict(interval, 0.0, above=True) == above
    assert verdict(interval, 0.0, above=False) == below
