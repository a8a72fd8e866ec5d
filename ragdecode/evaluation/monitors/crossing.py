"""What an aggregator makes of sources that it has not seen: cross-validation over sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.errors import RunError
from ragdecode.evaluation.learning.logistic import folds
from ragdecode.evaluation.monitors.fitting import FitSettings, Fitted, fit_monitor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.monitors.examples import Examples

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Unseen:
    """Verdicts on sentences whose sources the aggregator had not seen.

    Attributes:
        probabilities: That each sentence is faithful; NaN where it was not scored ``[n]``.
        flagged: Whether it was below the threshold that was chosen on the other sources ``[n]``.
    """

    probabilities: NDArray[np.float64]
    flagged: NDArray[np.bool_]


def splits(groups: NDArray[np.int64], count: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """The held-out sentences of each fold, bool ``[n]``; a source is never split."""
    yield from folds(groups.tolist(), count, seed)


def cross_validate(
    examples: Examples, settings: FitSettings, *, count: int = 5, seed: int = 100, tell: Tell = lambda *_: None
) -> Unseen:
    """Fit on all but one fold of the sources, judge that one, and so on; everything is chosen inside of the fit.

    Raises:
        RunError: There are too few sentences of a kind, or too few sources.
    """
    probabilities = np.full(len(examples), np.nan)
    flagged = np.zeros(len(examples), np.bool_)
    for number, part in enumerate(splits(examples.groups, count, seed)):
        tell(number, count)
        try:
            fitted: Fitted = fit_monitor(examples.of(~part), settings)
        except RunError as error:
            raise RunError(f"with one of {count} folds held out: {error.message}", hint=error.hint) from error
        probabilities[part] = fitted.probabilities(examples.of(part))
        flagged[part] = probabilities[part] < fitted.threshold
    return Unseen(probabilities, flagged)
