"""How well a score tells two kinds of examples apart."""

from __future__ import annotations

from collections.abc import Sequence


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: how often a positive example scores above a negative one; ties count half.

    NaN where one of the two kinds is missing.
    """
    import numpy as np

    if not len(positive) or not len(negative):
        return float("nan")
    above, below = np.asarray(positive, np.float64), np.sort(np.asarray(negative, np.float64))
    left, right = (np.searchsorted(below, above, side) for side in ("left", "right"))
    return float((left + right).sum() / (2 * len(above) * len(below)))
