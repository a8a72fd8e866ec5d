"""Entropy growth: what becomes of the neighbours' votes as a text gets longer, of gold tokens and of generated ones.

Shapes: R texts of equal length, L tokens each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.evaluation.knn.resampling import drawn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.knn.votes import TokenVotes

#: points of a curve; neighbouring steps are drawn as their mean
_POINTS = 16
#: what is followed, and the field of `TokenVotes` that it is
FOLLOWED = {"lm": "lm_entropy", "votes": "entropy", "shares": "spread", "nearest": "nearest", "sources": "sources"}


def table(votes: TokenVotes, name: str, texts: int) -> NDArray[np.float64]:
    """One figure of texts of equal length ``[R, L]``."""
    values: NDArray[np.float64] = getattr(votes, FOLLOWED[name])
    return values.reshape(texts, -1)


def growth(runs: Mapping[str, TokenVotes], texts: int) -> dict[str, Any]:
    """How entropies grow by step, as plain data.

    Args:
        runs: ``gold`` and those by which text was generated, each ``texts`` continuations of one length, in the same
            order of prompts.
        texts: R.

    Returns:
        ``steps`` and ``curves`` for drawing; ``slopes`` in nats a hundred tokens, of the model's entropy, of the votes'
        and of their difference, with intervals over texts; ``difference`` of each generated run: how much more the
        votes' entropy exceeds that on gold text than the model's does, in nats.
    """
    length = len(next(iter(runs.values()))) // texts
    edges = np.unique(np.linspace(0, length, min(_POINTS, length) + 1).round().astype(int))
    pairs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    found: dict[str, Any] = {
        "steps": [(first + stop - 1) / 2 + 1 for first, stop in pairs],
        "curves": {},
        "slopes": {},
        "difference": {},
    }
    for run, votes in runs.items():
        own = {name: table(votes, name, texts) for name in FOLLOWED}
        found["curves"][run] = {
            name: [float(values[:, first:stop].mean()) for first, stop in pairs] for name, values in own.items()
        }
        steepness = {name: 100 * slopes(own[name]) for name in ("lm", "votes")}
        steepness["apart"] = steepness["votes"] - steepness["lm"]
        found["slopes"][run] = {
            name: drawn(lambda rows, values=values: values[rows].mean(axis=-1), texts)  # type: ignore[misc]
            for name, values in steepness.items()
        }
        if run != "gold":
            beyond = (own["votes"] - table(runs["gold"], "votes", texts)).mean(axis=1)
            beyond = beyond - (own["lm"] - table(runs["gold"], "lm", texts)).mean(axis=1)
            found["difference"][run] = drawn(lambda rows, values=beyond: values[rows].mean(axis=-1), texts)  # type: ignore[misc]
    return found


def slopes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope by step of each row ``[R]``; 0 for a single step."""
    steps = np.arange(values.shape[1], dtype=np.float64)
    steps -= steps.mean()
    square = float((steps**2).sum())
    if square == 0:
        return np.zeros(len(values))
    found: NDArray[np.float64] = values @ steps / square
    return found
