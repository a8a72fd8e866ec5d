"""Intervals against a plain bootstrap and the normal approximation."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from ragdecode.evaluation.bootstrap import interval


def test_ends_are_near_those_of_a_plain_bootstrap() -> None:
    chance = random.Random(3)
    values = [chance.random() ** 3 for _ in range(80)]
    means = sorted(statistics.fmean(chance.choices(values, k=80)) for _ in range(4000))
    found = interval(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.low == pytest.approx(means[100], abs=0.006)
    assert found.high == pytest.approx(means[3900], abs=0.006)


def test_width_is_that_of_the_normal_approximation_for_many_values() -> None:
    chance = random.Random(4)
    values = [chance.gauss(5, 2) for _ in range(2000)]
    found = interval(values, level=0.9)
    half = 1.645 * statistics.stdev(values) / math.sqrt(2000)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_the_ends() -> None:
    assert interval([0.5] * 9).low == interval([0.5] * 9).high == 0.5
    assert math.isnan(interval([]).mean)
    assert interval([]).n == 0
    assert interval([1.0, 0.0, 1.0]) == interval([1.0, 0.0, 1.0])
    values = [item / 7 for item in range(40)]
    assert interval(values, seed=1).low != interval(values, seed=2).low


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [chance / 7 for chance in range(50)]
    whole = interval(values, resamples=500)
    monkeypatch.setattr("ragdecode.evaluation.bootstrap._ROOM", 16 * 50 * 33)
    assert interval(values, resamples=500) == whole
