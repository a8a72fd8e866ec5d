"""From values to places on paper: linear and logarithmic scales with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

#: values on an axis that are no further apart than this part of their size are drawn as one
_FLAT = 1e-9


@dataclass(frozen=True)
class Scale:
    """A scale between two values, laid out between two places.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``; above ``low``.
        start: Place of ``low``; may lie beyond ``end`` (upward axes).
        end: Place of ``high``.
        log: Logarithmic; ``low`` is above 0.
        wanted: About how many ticks.
    """

    low: float
    high: float
    start: float = 0.0
    end: float = 1.0
    log: bool = False
    wanted: int = 5
    _ticks: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"no scale from {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic scale begins above 0")
        ticks = _log_ticks if self.log else _linear_ticks
        object.__setattr__(self, "_ticks", tuple(ticks(self.low, self.high, self.wanted)))

    def __call__(self, value: float) -> float:
        """The place of a value; values outside are put at the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values between the ends, rising."""
        return self._ticks

    def labels(self) -> list[str]:
        """The ticks in words: all with as many decimals as the finest needs."""
        if self.log:
            return [number(value) for value in self.ticks]
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else self.high - self.low
        decimals = max(0, -math.floor(math.log10(step) + _FLAT))
        if decimals > 6 or max(abs(self.low), abs(self.high)) >= 1e7:
            return [number(value) for value in self.ticks]
        return [_minus(f"{value + 0.0:,.{decimals}f}") for value in self.ticks]


def spanning(
    values: Iterable[float | None],
    *,
    log: bool = False,
    zero: bool = False,
    low: float | None = None,
    high: float | None = None,
    room: float = 0.06,
) -> tuple[float, float]:
    """Ends of an axis that shows all values, with a little room.

    Args:
        values: What is shown; None and what is not finite (on a logarithmic axis: not above 0) is left out.
        log: The axis is logarithmic.
        zero: 0 is shown, too.
        low: The lower end, where it is fixed.
        high: The upper end, where it is fixed.
        room: Share of the span that is added at either end that is not fixed.
    """
    shown = [value for value in values if value is not None and math.isfinite(value) and (value > 0 or not log)]
    if zero and not log:
        shown.append(0.0)
    if not shown:
        shown = [1.0, 10.0] if log else [0.0, 1.0]
    first, last = min(shown), max(shown)
    if log:
        reach = max(last / first, 1.25) ** room
        found = (first / reach, last * reach)
    else:
        reach = room * (last - first) if last - first > _FLAT * max(1.0, abs(last)) else 0.1 * max(abs(last), 1.0)
        found = (0.0 if zero and first >= 0 else first - reach, 0.0 if zero and last <= 0 < -first else last + reach)
    found = (found[0] if low is None else low, found[1] if high is None else high)
    return found if found[0] < found[1] else (found[0], found[0] + 1.0)


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: significant digits, thousands parted, tiny and huge ones with an exponent."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return _minus(f"{mantissa}e{int(exponent)}")
    decimals = max(0, digits - 1 - size)
    text = f"{value:,.{decimals}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    raw = (high - low) / max(1, wanted)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * (1 - _FLAT))
    first, last = math.ceil(low / step - _FLAT), math.floor(high / step + _FLAT)
    return [count * step for count in range(first, last + 1)]


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        inside = [tick for tick in ticks if low * (1 - _FLAT) <= tick <= high * (1 + _FLAT)]
        if len(inside) >= min(wanted, 3):
            every = -(-len(inside) // (wanted + 3))
            return inside[::every]
    return _linear_ticks(low, high, wanted)
