"""Chooses temperature and weights of kNN-LM on held-out text, and measures them on stretches that were set aside.

A fifth of the stretches has no part in the choice. Sources: Khandelwal et al., arXiv 1911.00172 (the fixed weight is
chosen on held-out text); Drozdov et al., arXiv 2210.15859 (weights by distance); He et al., arXiv 2109.04212 (gate).
Shapes: M tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.decoding.knn.tuning import Buckets, tune
from ragdecode.errors import InputError
from ragdecode.evaluation.knn.resampling import STRETCH, mean, stretches
from ragdecode.evaluation.knn.votes import mixed
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.knn.gate import Gate
    from ragdecode.evaluation.knn.asked import Asked

#: temperatures that are tried, in units of the one that the keys themselves suggest
HEATS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
#: one stretch in so many is set aside
_FOLD = 5


@dataclass(frozen=True)
class Fitted:
    """What was chosen, and what it is worth.

    Attributes:
        temperature: Of the votes.
        weight: The best fixed weight.
        buckets: Weights by distance.
        gate: The learned gate; None if none was asked for.
        tokens: Tokens that were chosen by.
        figures: Plain data: ``tokens`` set aside, ``lm`` (perplexity of the model) and, for ``fixed``, ``distance`` and
            ``gate``, ``perplexity``, ``gain`` in nats a token with its interval, ``hurt`` (share of tokens that lose)
            and ``weight``, its mean.
    """

    temperature: float
    weight: float
    buckets: Buckets
    gate: Gate | None
    tokens: int
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateTraining:
    """How the gate is learnt.

    Attributes:
        frequency: ``log(1 + n)`` of each token, see `decoding.knn.gate` ``[V]``.
        fertility: The same of how many tokens follow it ``[V]``.
        spare: Share of the tokens that are not searched for: those whose weight is smallest.
        seed: Equal seeds give equal gates.
    """

    frequency: NDArray[np.float64]
    fertility: NDArray[np.float64]
    spare: float = 0.0
    seed: int = 0


def fit(asked: Asked, base: float, gate: GateTraining | None = None, progress: Progress = silent) -> Fitted:
    """Choose on four fifths of the stretches, measure on the fifth.

    Args:
        asked: The tokens.
        base: Temperature around which others are tried.
        gate: How a gate is learnt; none is if left out.
        progress: Told what is done.

    Raises:
        InputError: There are too few tokens.
    """
    groups = stretches(asked.text, asked.place)
    aside = groups % _FOLD == _FOLD - 1
    if not aside.any():
        raise InputError(
            f"the held-out text gives {len(asked)} tokens; {_FOLD * STRETCH} are needed, to choose and to measure",
            hint="give more text, or a larger --tokens",
        )
    own, test = asked.where(~aside), asked.where(aside)
    tried = []
    for step, heat in enumerate(base * one for one in HEATS):
        progress("trying temperatures", step, len(HEATS))
        votes = own.votes(heat)
        weight = float(tune(own.lm, votes, own.distances[:, 0], buckets=1).weights[0])
        tried.append((float(mixed(own.lm, votes, weight).mean()), heat, weight))
    _, heat, weight = max(tried)
    votes = own.votes(heat)
    buckets = tune(own.lm, votes, own.distances[:, 0])
    learnt = None
    if gate is not None:
        from ragdecode.evaluation.knn.gating import train

        learnt = train(own, votes, gate, progress)
    ways = {"fixed": np.full(len(test), weight), "distance": buckets.weight(test.distances[:, 0])}
    if learnt is not None:
        from ragdecode.evaluation.knn.gating import weights

        ways["gate"] = weights(learnt, test)
    heard = test.votes(heat)
    figures: dict[str, Any] = {"tokens": len(test), "lm": float(np.exp(-test.lm.mean()))}
    for name, own_weights in ways.items():
        both = mixed(test.lm, heard, own_weights)
        gain = both - test.lm
        figures[name] = {
            "perplexity": float(np.exp(-both.mean())),
            "gain": dict(mean(gain, groups[aside])),
            "hurt": float((gain < 0).mean()),
            "weight": float(own_weights.mean()),
            "searched": float((own_weights > 0).mean()),
        }
    return Fitted(heat, weight, buckets, learnt, len(own), figures)
