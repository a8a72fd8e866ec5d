"""Intervals of means by resampling examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: bytes of resampled values held at once
_ROOM = 1 << 26


@dataclass(frozen=True)
class Interval:
    """A mean and where it would lie for other samples of the same kind.

    Attributes:
        mean: Mean of the values; NaN if there are none.
        low: Lower end.
        high: Upper end.
        n: How many values.
    """

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap (Efron, 1979) of the mean over examples.

    For a paired comparison give the differences, one an example.

    Args:
        values: One value an example.
        level: Share of resampled means between the ends.
        resamples: Samples of the size of ``values``, drawn with replacement.
        seed: Equal seeds give equal intervals.
    """
    import numpy as np

    sample = np.asarray(values, np.float64)
    if not len(sample):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    chance = np.random.default_rng(seed)
    means = np.empty(resamples)
    at_once = max(1, _ROOM // (16 * len(sample)))
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        means[first : first + rows] = sample[chance.integers(len(sample), size=(rows, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sample.mean()), float(low), float(high), len(sample))
