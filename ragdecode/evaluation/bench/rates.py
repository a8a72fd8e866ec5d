"""Speeds of contenders and their ratios, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragdecode.evaluation.bench.contender import Turn

if TYPE_CHECKING:
    import numpy as np

#: Share of resamples between the ends of an interval.
LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A median over repeats and its interval.

    Attributes:
        value: The median; None if there is nothing to take it of.
        low: Lower end of the interval; None with a single prompt (or batch) and a single repeat.
        high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> list[float] | None:
        """The ends, if there are any."""
        return None if self.low is None or self.high is None else [self.low, self.high]


@dataclass(frozen=True)
class Speed:
    """Amounts of each turn, repeats x turns ``[R, P]``, and the seconds they took.

    Attributes:
        amounts: Tokens; 0 where the turn does not count.
        seconds: Their seconds; 0 where the turn does not count.
    """

    amounts: np.ndarray
    seconds: np.ndarray

    @staticmethod
    def whole(repeats: Sequence[Sequence[Turn]]) -> Speed:
        """New tokens over all seconds, prefill included."""
        return _speed(repeats, lambda turn: (turn.tokens, turn.seconds))

    @staticmethod
    def decoding(repeats: Sequence[Sequence[Turn]]) -> Speed:
        """Tokens after the first over the seconds after it; answers under two tokens left out."""
        return _speed(repeats, lambda turn: (turn.decoded, turn.decode_seconds) if turn.decoded else (0, 0.0))

    def figure(self) -> Figure:
        """The median over repeats of tokens per second."""
        return _figure([self], lambda rates: rates[0])

    def over(self, base: Speed) -> Figure:
        """The median over repeats of the ratio to another contender on the same prompts."""
        import numpy as np

        def ratio(rates: Sequence[np.ndarray]) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                divided: np.ndarray = rates[0] / rates[1]
            return divided

        return _figure([self, base], ratio)


def _speed(repeats: Sequence[Sequence[Turn]], of: Callable[[Turn], tuple[float, float]]) -> Speed:
    import numpy as np

    pairs = np.array([[of(turn) for turn in repeat] for repeat in repeats], np.float64)
    return Speed(pairs[..., 0], pairs[..., 1])


def _figure(speeds: Sequence[Speed], fold: Callable[[Sequence[np.ndarray]], np.ndarray]) -> Figure:
    """The median over repeats of a function of rates, and its percentile bootstrap over turns and repeats.

    A resample draws turns with replacement, the same for all contenders and repeats (they are paired), and repeats
    with replacement; its statistic is the same as that of the sample.
    """
    import numpy as np

    repeats, turns = speeds[0].amounts.shape
    value = _median(_folded(speeds, np.ones((1, turns)), fold))[0]
    if not np.isfinite(value):
        return Figure(None)
    if repeats * turns < 2:
        return Figure(float(value))
    chance = np.random.default_rng(0)
    drawn = chance.integers(turns, size=(RESAMPLES, turns))
    counts = np.zeros((RESAMPLES, turns))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1)
    chosen = chance.integers(repeats, size=(RESAMPLES, repeats))
    found = _median(np.take_along_axis(_folded(speeds, counts, fold), chosen, axis=1))
    found = found[np.isfinite(found)]
    if not len(found):
        return Figure(float(value))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(value), float(low), float(high))


def _folded(
    speeds: Sequence[Speed], counts: np.ndarray, fold: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """The function of each resample's rates in each repeat ``[B, R]``, for counts of turns ``[B, P]``."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        rates = [(counts @ one.amounts.T) / (counts @ one.seconds.T) for one in speeds]
    return fold(rates)


def _median(values: np.ndarray) -> np.ndarray:
    """The median of each row, of what is known."""
    import numpy as np

    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=1)  # what is not known comes last
    known = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))
    low, high = (
        ordered[rows, np.maximum(known - 1, 0) // 2],
        ordered[rows, np.minimum(known // 2, ordered.shape[1] - 1)],
    )
    middle: np.ndarray = np.where(known > 0, (low + high) / 2, np.nan)
    return middle
