"""What FAISS indexes are trained on, and in how many threads: the same at every try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def sample(total: int, most: int) -> NDArray[np.int64]:
    """Rows to train on, ascending."""
    import numpy as np

    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False))


def within(rows: NDArray[np.int64], first: int, block: NDArray[np.floating]) -> slice:
    """Which of the ascending rows are in the block."""
    import numpy as np

    start, end = np.searchsorted(rows, (first, first + len(block)))
    return slice(int(start), int(end))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for a while."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
