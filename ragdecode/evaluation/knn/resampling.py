"""Intervals of means over tokens, by resampling stretches of text: neighbouring tokens are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: tokens that are drawn together
STRETCH = 64
#: resamples, and the share of them between the ends
RESAMPLES, LEVEL = 1000, 0.95

Estimate = Mapping[str, float | None]


def stretches(text: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the stretch that each token is in ``[M]``: so many tokens of one text, one after the other."""
    keys = np.stack([text, place // STRETCH], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def mean(values: NDArray[np.floating], groups: NDArray[np.int64], seed: int = 0) -> Estimate:
    """Mean over tokens with the ends of its bootstrap interval over groups (stretches, or texts).

    A resample draws as many groups as there are, with replacement; its mean is over the tokens of those. Ends are None
    where there are fewer than two groups, all three where there is no token.

    Args:
        values: One a token ``[M]``.
        groups: The group of each ``[M]``.
        seed: Equal seeds give equal intervals.
    """
    if not len(values):
        return {"estimate": None, "low": None, "high": None}
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(numbers, weights=np.asarray(values, np.float64))
    counts = np.bincount(numbers).astype(np.float64)
    return drawn(lambda rows: sums[rows].sum(axis=-1) / counts[rows].sum(axis=-1), len(sums), seed=seed)


def drawn(
    figure: Callable[[NDArray[np.int64]], NDArray[np.float64]], count: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A figure of ``count`` groups with the ends of its percentile bootstrap interval (Efron, 1979).

    Args:
        figure: Makes of group numbers ``[..., count]`` the figure of each row ``[...]``.
        count: Groups.
        resamples: Resamples.
        seed: Equal seeds give equal intervals.
    """
    estimate = float(figure(np.arange(count)))
    if count < 2:
        return {"estimate": estimate, "low": None, "high": None}
    chance = np.random.default_rng(seed)
    found = np.concatenate(
        [figure(chance.integers(count, size=(min(50, resamples - at), count))) for at in range(0, resamples, 50)]
    )
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"estimate": estimate, "low": float(low), "high": float(high)}
