"""Settings of kNN-LM from held-out text: the temperature of the vote, and its weight by distance.

Everything is computed from what a run over the text had cached: no model is needed here. What is found goes to a file
that YAML names, see `ragdecode.spec.tuning.TuningSpec`. Shapes: M tokens of held-out text, k neighbours, B buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.spec.tuning import BucketsSpec

#: halvings of the interval in which the temperature is looked for
_HALVINGS = 60


def temperature(distances: NDArray[np.floating], neighbours: float = 16.0) -> float:
    """The temperature at which half of the queries listen to so many neighbours or more.

    A query listens to ``exp(H)`` neighbours, H the entropy of their shares in nats. The scale of distances differs from
    model to model by orders of magnitude, so no temperature suits all of them.

    Args:
        distances: Squared distances ``[M, k]``, infinite where there is no neighbour.
        neighbours: Above 1; half of k if k is too small for it.

    Raises:
        ValueError: No query has two neighbours at different distances: any temperature is as good.
    """
    known = np.asarray(distances, np.float64)
    known = known[np.isfinite(known).sum(axis=1) > 1]
    spread = np.where(np.isfinite(known), known, np.nan)
    if not len(known) or not float(np.nanmax(np.nanmax(spread, axis=1) - np.nanmin(spread, axis=1))) > 0:
        raise ValueError("no query has neighbours at different distances")
    wanted = min(neighbours, known.shape[1] / 2)
    scale = float(np.nanmedian(spread - np.nanmin(spread, axis=1, keepdims=True))) or float(np.nanmax(spread))
    low, high = np.log(scale) - 20.0, np.log(scale) + 20.0
    for _ in range(_HALVINGS):  # the number grows with the temperature
        middle = (low + high) / 2
        if _listened(known, float(np.exp(middle))) < wanted:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _listened(distances: NDArray[np.float64], heat: float) -> float:
    """Median of exp(entropy of the shares)."""
    scores = -(distances - distances.min(axis=1, keepdims=True)) / heat
    weights = np.exp(scores)
    share = weights / weights.sum(axis=1, keepdims=True)
    logs = np.log(share, where=share > 0, out=np.zeros_like(share))
    return float(np.median(np.exp(-(share * logs).sum(axis=1))))


@dataclass(frozen=True)
class Buckets:
    """Weight of the votes by the distance of the nearest neighbour.

    Drozdov and others, "You can't pick your neighbors, or can you?", https://arxiv.org/abs/2210.15859.

    Attributes:
        edges: Distances that divide the buckets, ascending ``[B - 1]``; one that is equal belongs to the next.
        weights: Weight of each bucket ``[B]``.
    """

    edges: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, spec: BucketsSpec) -> Buckets:
        """The buckets of a file."""
        return cls(np.asarray(spec.edges, np.float64), np.asarray(spec.weights, np.float64))

    @property
    def spec(self) -> BucketsSpec:
        """The buckets as a file holds them."""
        from ragdecode.spec.tuning import BucketsSpec

        return BucketsSpec(edges=tuple(self.edges.tolist()), weights=tuple(self.weights.tolist()))

    def weight(self, nearest: NDArray[np.floating]) -> NDArray[np.float64]:
        """Weights for the distances of nearest neighbours ``[N]``; 0 where there is none."""
        found = self.weights[np.searchsorted(self.edges, nearest, side="right")]
        weights: NDArray[np.float64] = np.where(np.isfinite(nearest), found, 0.0)
        return weights


def tune(
    model: NDArray[np.floating],
    votes: NDArray[np.floating],
    nearest: NDArray[np.floating],
    buckets: int = 64,
    least: int = 50,
) -> Buckets:
    """The weight of each bucket that gives the held-out tokens the most probability, out of 0, 0.01, ... 0.99.

    Args:
        model: Log-probability of each token under the model ``[M]``.
        votes: The same under the neighbours, minus infinity where none votes for it ``[M]``.
        nearest: Distance of the nearest neighbour ``[M]``; tokens without one are passed over.
        buckets: How many, of equal numbers of tokens; 1 gives one fixed weight.
        least: Fewer buckets are made rather than have less than so many tokens in one.

    Raises:
        ValueError: No token has a neighbour.
    """
    known = np.isfinite(nearest)
    if not known.any():
        raise ValueError("no token has a neighbour")
    own, other, near = (np.asarray(table, np.float64)[known] for table in (model, votes, nearest))
    count = max(1, min(buckets, len(near) // least))
    edges = np.unique(np.quantile(near, np.arange(1, count) / count))
    grid = np.arange(100) / 100
    with np.errstate(divide="ignore"):
        logs = np.log(grid)[:, None]
    place = np.searchsorted(edges, near, side="right")
    weights = np.zeros(len(edges) + 1)
    for bucket in np.unique(place):
        inside = place == bucket
        gained = np.logaddexp(np.log1p(-grid)[:, None] + own[inside], logs + other[inside]).sum(axis=1)
        weights[bucket] = grid[int(np.argmax(gained))]
    return Buckets(edges, weights)
