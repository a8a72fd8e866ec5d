"""A Gaussian process over sets of sub-layers, to propose the set that is worth trying next."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]

#: Length scales that are tried, in swaps: how far sets may differ and still tell about each other.
_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)
#: How many of the latest measurements are used; what a proposal costs grows with the cube.
_MOST = 256


class Surrogate:
    """Exact Gaussian-process regression of matchness over sets of equal size.

    The covariance of two sets falls exponentially with the swaps that lead from one to the other, which is the
    Laplacian kernel on indicator vectors. Measurements are shares of n matched tokens, so that their noise is known:
    ``p (1 - p) / n``. Signal variance and length scale are those of the highest marginal likelihood on a small grid.

    This stands where SWIFT (arXiv 2410.06916) has a general Bayesian optimiser over a cube that is rounded to sets;
    here the process lives on the sets themselves.

    Args:
        parts: The sub-layers that sets are made of.
    """

    def __init__(self, parts: Sequence[int]) -> None:
        self._place = {part: index for index, part in enumerate(parts)}
        self._sets: list[frozenset[int]] = []
        self._scores: list[float] = []
        self._tokens: list[int] = []

    def add(self, chosen: frozenset[int], score: float, tokens: int) -> None:
        """A measurement: the share of so many tokens that matched."""
        self._sets.append(chosen)
        self._scores.append(score)
        self._tokens.append(tokens)

    def predictor(self) -> Callable[[Collection[frozenset[int]]], tuple[_Array, _Array]]:
        """Fit; the result maps sets to the mean and the standard deviation of their matchness, ``[n]`` each."""
        known = self._vectors(self._sets[-_MOST:])  # [m, d]
        scores = np.array(self._scores[-_MOST:])
        mean = float(scores.mean())
        share = min(max(mean, 0.05), 0.95)
        noise = share * (1 - share) / np.array(self._tokens[-_MOST:], dtype=np.float64)
        swaps = _swaps(known, known)
        centred = scores - mean
        spread = max(float(scores.var()), 1e-4)
        best: tuple[float, float, float, npt.NDArray[Any]] | None = None
        for scale in _SCALES:
            for variance in (0.25 * spread, spread, 4 * spread):
                factor = np.linalg.cholesky(variance * np.exp(-swaps / scale) + np.diag(noise + 1e-9))
                whitened = np.linalg.solve(factor, centred)
                likelihood = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(factor)).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, scale, variance, factor
        assert best is not None
        _, scale, variance, factor = best
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, centred))

        def predict(sets: Collection[frozenset[int]]) -> tuple[_Array, _Array]:
            cross = variance * np.exp(-_swaps(self._vectors(sets), known) / scale)  # [n, m]
            explained = np.square(np.linalg.solve(factor, cross.T)).sum(axis=0)
            return mean + cross @ weights, np.sqrt(np.maximum(variance - explained, 0.0))

        return predict

    def propose(self, start: frozenset[int], rng: random.Random, *, kappa: float = 2.5) -> frozenset[int]:
        """The set of the highest upper confidence bound, ``mean + kappa * deviation``, that hill climbing finds.

        It climbs by swaps, from ``start`` and from a few random sets of its size.
        """
        predict = self.predictor()
        parts = list(self._place)
        starts = [start, *(frozenset(rng.sample(parts, len(start))) for _ in range(3))]
        best, bound = start, -math.inf
        for here in starts:
            current, height = here, -math.inf
            while True:
                around = sorted({swapped(current, parts, rng) for _ in range(48)} | {current}, key=sorted)
                means, deviations = predict(around)
                heights = means + kappa * deviations
                top = int(heights.argmax())
                if heights[top] <= height + 1e-12:
                    break
                current, height = around[top], float(heights[top])
            if height > bound:
                best, bound = current, height
        return best

    def _vectors(self, sets: Iterable[frozenset[int]]) -> _Array:
        """Indicator vectors ``[n, d]``."""
        sets = list(sets)
        vectors = np.zeros((len(sets), len(self._place)))
        for row, chosen in enumerate(sets):
            vectors[row, [self._place[part] for part in chosen]] = 1.0
        return vectors


def swapped(chosen: frozenset[int], parts: Sequence[int], rng: random.Random) -> frozenset[int]:
    """The set with one member, drawn at random, replaced by one of the other parts."""
    out = rng.choice(sorted(chosen))
    others = [part for part in parts if part not in chosen]
    return (chosen - {out}) | {rng.choice(others)}


def _swaps(left: _Array, right: _Array) -> _Array:
    """Swaps that lead from each set of ``[n, d]`` to each of ``[m, d]``, as ``[n, m]``."""
    swaps: _Array = left.sum(axis=1)[:, None] - left @ right.T
    return swaps
