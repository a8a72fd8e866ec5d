"""MAUVE with a named encoder: how alike two sets of texts are, from the clusters that their vectors fall into.

Pillutla and others, "MAUVE: Measuring the Gap Between Neural Text and Human Text", NeurIPS 2021,
https://arxiv.org/abs/2102.01454, with the settings of the published code. It is called MAUVE with the vectors of
gpt2-large only; scores of different encoders, numbers of texts or lengths are not to be compared, and few texts score
too high. The published package is under the GPL, so the definition is followed here.

Shapes: N texts a side, W numbers a vector, B clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: share of the variance that the principal components keep
_VARIANCE = 0.9
#: texts a cluster, restarts and rounds of k-means
_TEXTS, _RESTARTS, _ROUNDS = 10, 5, 500
#: points of the curve, and how fast divergence counts
_POINTS, _SCALE = 25, 5.0


def mauve(own: NDArray[np.floating], other: NDArray[np.floating], seed: int = 0) -> float:
    """The score, from 0 to 1: the area under the divergence curve of the two histograms.

    Args:
        own: Vectors of one set ``[N, W]``.
        other: Vectors of the other ``[N, W]``.
        seed: Of k-means.

    Raises:
        ValueError: A side has fewer than two texts.
    """
    if min(len(own), len(other)) < 2:
        raise ValueError("MAUVE needs at least two texts a side")
    count = clusters(min(len(own), len(other)))
    places = cluster(np.concatenate([own, other]), count, seed)
    first, second = (np.bincount(part, minlength=count) for part in (places[: len(own)], places[len(own) :]))
    return area(first / first.sum(), second / second.sum())


def clusters(texts: int) -> int:
    """Clusters for so many texts a side."""
    return max(2, round(texts / _TEXTS))


def cluster(vectors: NDArray[np.floating], count: int, seed: int = 0) -> NDArray[np.int64]:
    """The cluster of each vector ``[N]``: length 1, principal components, k-means."""
    import faiss

    from ragdecode.indexing.vectors.training import threads

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.asarray(vectors, np.float64) / np.where(lengths > 0, lengths, 1.0)
    known -= known.mean(axis=0)
    left, sizes, _ = np.linalg.svd(known, full_matrices=False)
    share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), np.finfo(np.float64).tiny)
    kept = int(np.searchsorted(share, _VARIANCE)) + 1
    reduced = np.ascontiguousarray((left * sizes)[:, :kept], np.float32)
    with threads(1):  # the same clusters on every machine
        means = faiss.Kmeans(
            reduced.shape[1], count, niter=_ROUNDS, nredo=_RESTARTS, seed=seed, min_points_per_centroid=1,
            max_points_per_centroid=len(reduced),
        )  # fmt: skip
        means.train(reduced)
        rows: NDArray[np.int64] = means.index.search(reduced, 1)[1][:, 0]
    return rows


def area(own: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Area under the divergence curve of two histograms ``[B]``."""
    points = [(0.0, 1.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, _POINTS):
        between = weight * own + (1 - weight) * other
        points.append((np.exp(-_SCALE * _divergence(other, between)), np.exp(-_SCALE * _divergence(own, between))))
    points.append((1.0, 0.0))
    right, up = np.asarray(points).T
    order = np.lexsort((-up, right))
    return float(np.trapezoid(up[order], right[order]))


def _divergence(own: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Kullback-Leibler divergence in nats; ``other`` is above 0 wherever ``own`` is."""
    there = own > 0
    return float((own[there] * np.log(own[there] / other[there])).sum())
