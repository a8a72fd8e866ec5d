"""A table of what a model predicted after each token of its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ragdecode.decoding.drafter import Verified

#: Bounds of the bins of probability.
_BOUNDS = (0.05, 0.2, 0.6)
#: How many bins there are.
BINS = len(_BOUNDS) + 1


class Successors:
    """The k most probable tokens after each token, as the model last predicted them there.

    Arrays ``[V, k]`` on the CPU, made with the first prediction: ids in int32, -1 where nothing is known, and the
    bin of their probability in int8.

    Args:
        k: Successors that are kept.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._ids: npt.NDArray[np.int32] | None = None
        self._bins: npt.NDArray[np.int8] | None = None

    def write(self, verified: Verified) -> None:
        """Overwrite the rows of all fed tokens, rejected ones too.

        Of several nodes with one token the deepest counts, of equally deep ones the last, and the accepted path
        before all others.
        """
        import numpy as np

        if not verified.log_probs.shape[0]:
            return
        vocabulary = verified.log_probs.shape[-1]
        if self._ids is None or self._bins is None or len(self._ids) < vocabulary:
            self._ids = np.full((vocabulary, self._k), -1, dtype=np.int32)
            self._bins = np.zeros((vocabulary, self._k), dtype=np.int8)
        ids, log_probs = verified.top(self._k)
        order = sorted(range(len(ids)), key=lambda node: (verified.depths[node], node))
        last = {verified.tokens[node]: node for node in (*order, *verified.accepted)}
        tokens, nodes = list(last), list(last.values())
        probs = np.exp(np.asarray(log_probs, dtype=np.float64)[nodes])
        width = probs.shape[1]
        # what a rule or a vocabulary smaller than k rules out is no successor
        self._ids[tokens, :width] = np.where(probs > 0, np.asarray(ids, dtype=np.int32)[nodes], -1)
        self._bins[tokens, :width] = np.searchsorted(_BOUNDS, probs, side="right")

    def after(self, token: int) -> tuple[Sequence[int], Sequence[int]]:
        """The successors of a token, best first, and the bins of their probabilities; none if it was never fed."""
        if self._ids is None or self._bins is None or not 0 <= token < len(self._ids) or self._ids[token, 0] < 0:
            return (), ()
        return self._ids[token].tolist(), self._bins[token].tolist()
