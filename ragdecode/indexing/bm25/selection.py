"""The best rows of a score array."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def best(scores: NDArray[np.floating], rows: NDArray[np.int64], k: int) -> list[tuple[int, float]]:
    """The best k of ``rows`` by ``scores[row]``, best first, with all that equal the k-th.

    Args:
        scores: Score of every row of the table ``[n]``.
        rows: The rows that are eligible ``[m]``, ascending.
        k: How many.
    """
    import numpy as np

    eligible = scores[rows]
    if len(rows) > k:
        limit = np.partition(eligible, len(rows) - k)[len(rows) - k]
        rows, eligible = rows[eligible >= limit], eligible[eligible >= limit]
    order = np.argsort(-eligible, kind="stable")
    return [(int(rows[at]), float(eligible[at])) for at in order]
