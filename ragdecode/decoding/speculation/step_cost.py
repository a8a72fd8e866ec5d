"""What a pass costs by what is fed: seconds as a function of new tokens, rows and their lengths."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class StepCost:
    """Seconds of one model's pass, from a table that was measured on this machine.

    ``base(T) + (R - 1) row + sum_r slope(n_r) S_r`` for R rows of n_r new tokens each (T together) after S_r cached
    ones: the linear layers see all new tokens at once, attention sees each row alone.

    Attributes:
        sizes: Numbers of new tokens that were measured, ascending, the first is 1.
        base: Seconds of one row of so many new tokens with nothing cached; never falls.
        slope: Seconds more for each cached token, for a row of so many new tokens; never falls.
        row: Seconds more for each further row.

    Raises:
        ValueError: The numbers cannot be a table.
    """

    sizes: tuple[int, ...]
    base: tuple[float, ...]
    slope: tuple[float, ...]
    row: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not have been measured."""
        if not self.sizes or self.sizes[0] != 1 or not len(self.sizes) == len(self.base) == len(self.slope):
            raise ValueError("a table of step costs needs as many sizes as times, from size 1 on")
        numbers = (*self.base, *self.slope, self.row)
        if not all(math.isfinite(number) and number >= 0 for number in numbers) or self.base[0] <= 0:
            raise ValueError("step costs are finite numbers of seconds, and a pass takes some")
        for rising in (self.sizes, self.base, self.slope):
            if any(a > b for a, b in pairwise(rising)):
                raise ValueError("a larger step cannot cost less")

    def seconds(self, rows: Sequence[tuple[int, int]]) -> float:
        """Seconds of a pass over rows of (new tokens, cached tokens)."""
        if not rows:
            return 0.0
        total = sum(new for new, _ in rows)
        attention = sum(_at(self.sizes, self.slope, new) * cached for new, cached in rows)
        return _at(self.sizes, self.base, total) + (len(rows) - 1) * self.row + attention

    @staticmethod
    def from_times(
        sizes: Sequence[int],
        short: Sequence[float],
        long: Sequence[float],
        contexts: tuple[int, int],
        many_rows: Mapping[tuple[int, int], float],
    ) -> StepCost:
        """A table from measured seconds.

        Args:
            sizes: Numbers of new tokens, ascending from 1.
            short: Seconds of one row of each size, ``contexts[0]`` tokens cached.
            long: The same with ``contexts[1]`` tokens cached.
            contexts: The two lengths; equal ones say nothing about the length.
            many_rows: Seconds of R rows of n new tokens each, ``contexts[0]`` tokens cached, by (R, n). A further
                row is taken to cost what fits them best, which is least disturbed where there are many.
        """
        near, far = contexts
        gaps = [max(0.0, (b - a) / (far - near)) if far > near else 0.0 for a, b in zip(short, long, strict=True)]
        slope = monotone(gaps)
        # the length's part is taken off, but no more than what keeps a pass from costing nothing
        base = monotone([max(a - s * near, a / 2) for a, s in zip(short, slope, strict=True)])
        table = StepCost(tuple(sizes), tuple(base), tuple(slope))
        more = {key: seconds - _together(table, *key, near) for key, seconds in many_rows.items()}
        weights = sum((count - 1) ** 2 for count, _ in more)
        row = max(0.0, sum((count - 1) * extra for (count, _), extra in more.items()) / weights) if more else 0.0
        return StepCost(table.sizes, table.base, table.slope, row)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> StepCost:
        """From plain data.

        Raises:
            ValueError: It is not what `to_json` gives.
        """
        try:
            lists = {key: tuple(kind(value) for value in data[key]) for key, kind in _FIELDS.items()}
            return StepCost(row=float(data["row"]), **lists)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not a table of step costs") from error


def _together(table: StepCost, count: int, new: int, held: int) -> float:
    """Seconds of several rows without what further ones cost as such."""
    attention = _at(table.sizes, table.slope, new) * held
    return _at(table.sizes, table.base, count * new) + count * attention


_FIELDS: dict[str, Any] = {"sizes": int, "base": float, "slope": float}


def monotone(values: Sequence[float]) -> list[float]:
    """The rising sequence that is closest to some values in the least squares (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []  # mean, how many
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def _at(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    """Linear between measured sizes; beyond the last one, along the line through the first and the last."""
    if size >= sizes[-1]:
        if len(sizes) == 1:
            return values[-1]
        return values[-1] + (size - sizes[-1]) * (values[-1] - values[0]) / (sizes[-1] - sizes[0])
    after = bisect_right(sizes, size)
    if after == 0:
        return values[0]
    low, high = sizes[after - 1], sizes[after]
    return values[after - 1] + (values[after] - values[after - 1]) * (size - low) / (high - low)


class StepCosts:
    """What a whole step costs: one pass a model.

    Args:
        tables: By key of the backend; a model without one costs what the first does.
    """

    def __init__(self, tables: Mapping[str, StepCost]) -> None:
        if not tables:
            raise ValueError("step costs need at least one table")
        self._tables = dict(tables)
        self._first = next(iter(self._tables.values()))

    def seconds(self, loads: Sequence[tuple[str, int, int]]) -> float:
        """Seconds of a step that feeds rows of (model, new tokens, cached tokens)."""
        models: dict[str, list[tuple[int, int]]] = {}
        for model, new, cached in loads:
            models.setdefault(model, []).append((new, cached))
        return sum(self._tables.get(model, self._first).seconds(rows) for model, rows in models.items())
