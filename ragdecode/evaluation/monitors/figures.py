"""How well scores tell unfaithful sentences and answers, with intervals over sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.evaluation.metrics.detection import (
    average_precision,
    balanced_accuracy,
    calibration_error,
    labelled_auroc,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.monitors.examples import Examples

_RESAMPLES = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A measured value.

    Attributes:
        value: None where it cannot be computed.
        low, high: Ends of the interval over sources; None where there is none.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """As plain data."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Figures:
    """How well scores tell.

    Attributes:
        auroc: How often an unfaithful example gets a lower score than a faithful one.
        auprc: Average precision with unfaithful examples as the positive ones; by chance it is ``base_rate``.
        balanced: Balanced accuracy at the threshold; None without one.
        ece: Calibration error over 15 bins of equal mass; None where the scores are no probabilities.
        base_rate: Share of unfaithful examples; None without examples.
        examples: How many were scored.
        unscored: How many were not.
        sources: Of the scored ones.
    """

    auroc: Figure
    auprc: Figure
    balanced: Figure
    ece: Figure
    base_rate: float | None
    examples: int
    unscored: int
    sources: int

    def to_json(self) -> dict[str, object]:
        """As plain data; what could not be computed is null."""
        return {
            **{name: getattr(self, name).to_json() for name in ("auroc", "auprc", "balanced", "ece")},
            **{name: getattr(self, name) for name in ("base_rate", "examples", "unscored", "sources")},
        }


def figures(
    scores: NDArray[np.float64],
    faithful: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    flagged: NDArray[np.bool_] | None = None,
    probabilities: bool = True,
    seed: int = 0,
) -> Figures:
    """Figures with 95 % percentile intervals of 1,000 bootstrap samples of sources.

    Args:
        scores: Higher is more faithful; NaN where there is none ``[n]``.
        faithful: Labels ``[n]``.
        groups: Sources ``[n]``.
        flagged: Which examples were called unfaithful ``[n]``.
        probabilities: Whether the scores are probabilities.
        seed: Draws the samples.
    """
    known = ~np.isnan(scores)
    score, label, group = scores[known], faithful[known], groups[known]
    called = None if flagged is None else flagged[known]
    members = [np.flatnonzero(group == one) for one in np.unique(group)]
    measures: Mapping[str, Callable[[NDArray[np.int64]], float | None]] = {
        "auroc": lambda rows: labelled_auroc((-score[rows]).tolist(), (~label[rows]).tolist()),
        "auprc": lambda rows: average_precision((-score[rows]).tolist(), (~label[rows]).tolist()),
        "balanced": lambda rows: _balanced(called, label, rows),
        "ece": lambda rows: calibration_error(score[rows].tolist(), label[rows].tolist()) if probabilities else None,
    }
    chance = np.random.default_rng(seed)
    samples = (
        [np.concatenate([members[at] for at in chance.integers(len(members), size=len(members))])
         for _ in range(_RESAMPLES)]
        if members else []
    )  # fmt: skip
    found = {name: _figure(measure, samples, np.arange(len(score))) for name, measure in measures.items()}
    rate = float((~label).mean()) if len(label) else None
    return Figures(
        **found,
        base_rate=rate,
        examples=len(score),
        unscored=int((~known).sum()),
        sources=len(members),
    )


def _balanced(called: NDArray[np.bool_] | None, label: NDArray[np.bool_], rows: NDArray[np.int64]) -> float | None:
    if called is None:
        return None
    return balanced_accuracy(called[rows].astype(float).tolist(), (~label[rows]).tolist(), 0.5)


def _figure(
    measure: Callable[[NDArray[np.int64]], float | None],
    samples: list[NDArray[np.int64]],
    everything: NDArray[np.int64],
) -> Figure:
    value = measure(everything) if len(everything) else None
    if value is None:
        return Figure(None)
    values = [one for one in map(measure, samples) if one is not None]
    if not values:
        return Figure(value)
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Figure(value, float(low), float(high))


def answer_scores(examples: Examples, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of each answer ``[A]``: that of its worst sentence; NaN if none is scored."""
    found = np.full(len(examples.unfaithful), np.inf)
    np.fmin.at(found, examples.answers, scores)
    return np.where(np.isinf(found), np.nan, found)


def answer_flags(examples: Examples, flagged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a sentence of each answer was called unfaithful ``[A]``."""
    found = np.zeros(len(examples.unfaithful), np.bool_)
    np.logical_or.at(found, examples.answers, flagged)
    return found
