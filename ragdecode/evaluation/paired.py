"""Whether two systems differ by more than chance on the same examples, and correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

#: random sign patterns, and the most that are tried one by one
RESAMPLES = 10_000
#: bytes of patterns held at once
_ROOM = 1 << 26


def permutation_test(differences: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> float | None:
    """Two-sided p-value of the mean of paired differences, by flipping signs (Fisher's randomisation test).

    If neither system were better, each difference could as well have had the other sign. All patterns are tried where
    there are few of them; else a random sample, with the observed one counted in, so that p is never 0. Differences
    of 0 change nothing. None without differences.
    """
    import numpy as np

    values = np.asarray(differences, np.float64)
    if not len(values):
        return None
    values = values[values != 0]
    if not len(values):
        return 1.0
    seen = abs(values.sum())
    border = seen - 1e-12 * np.abs(values).sum()  # sums in another order differ in their last bits
    if 2 ** len(values) <= resamples:
        patterns = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        return float((np.abs((1 - 2 * patterns) @ values) >= border).mean())
    chance = np.random.default_rng(seed)
    at_once = max(1, _ROOM // (8 * len(values)))
    beyond = 0
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        signs = 1.0 - 2.0 * chance.integers(2, size=(rows, len(values)))
        beyond += int((np.abs(signs @ values) >= border).sum())
    return (1 + beyond) / (1 + resamples)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number by Holm's step-down method (1979); None stays None and does not count.

    Rejecting what is at most 0.05 keeps the chance of any false rejection among them at 5 %, however they depend on
    each other.
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        corrected[place] = largest
    return corrected
