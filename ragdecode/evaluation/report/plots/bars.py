"""Rows with a bar and its interval, their names at the left and their figures at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import FONT, WIDTH, legend
from ragdecode.evaluation.report.plots.marks import Key, colour
from ragdecode.evaluation.report.plots.rows import FOOT, GAP, NAMES, ROW, row_name, value_axis
from ragdecode.evaluation.report.plots.scale import Scale, number, spanning
from ragdecode.evaluation.report.plots.text_width import shortened, text_width

_BAR = 14.0
#: of the width, at least so much for bars
_BARS = 0.3


@dataclass(frozen=True)
class Bar:
    """A row.

    Attributes:
        name: At its left.
        value: Length of the bar; None for a row without one.
        ends: Its interval.
        series: Colour.
        told: At its right; the value with its interval if left out.
    """

    name: str
    value: float | None
    ends: tuple[float, float] | None = None
    series: int = 0
    told: str | None = None

    @property
    def figure(self) -> str:
        """What stands at its right."""
        if self.told is not None:
            return self.told
        if self.value is None:
            return "–"
        ends = f" [{number(self.ends[0])}, {number(self.ends[1])}]" if self.ends else ""
        return number(self.value) + ends


def bars_plot(bars: Sequence[Bar], axis: str, *, label: str, keys: Sequence[Key] = (), width: float = WIDTH) -> Markup:
    """Draw rows of bars from 0, to the left where values are negative.

    Args:
        bars: At least one.
        axis: What the length is, with its unit.
        label: The plot in words.
        keys: A legend of the colours.
        width: Of the drawing.
    """
    figures = max(text_width(bar.figure, FONT) for bar in bars) + GAP
    figures = min(figures, (1 - _BARS) * width / 2 + GAP)
    names = min(max(text_width(bar.name, FONT) for bar in bars), NAMES * width, (1 - _BARS) * width - figures) + GAP
    head = legend(keys, width - 2 * GAP, GAP)
    top, bottom = head.height + 2, head.height + 2 + ROW * len(bars)
    low, high = spanning([value for bar in bars for value in (bar.value, *(bar.ends or ()))], zero=True)
    scale = Scale(low, high, names, width - figures, wanted=4)
    drawn = [head.drawing, *value_axis(scale, top, bottom, axis, width)]
    for at, bar in enumerate(bars):
        drawn += _bar(bar, scale, top + ROW * (at + 0.5), names, width)
    height = bottom + FOOT
    return tag(
        "svg", tag("title", label), *drawn,
        class_="plot", role="img", aria_label=label, viewBox=f"0 0 {width:g} {height:g}", width=width,
    )  # fmt: skip


def _bar(bar: Bar, scale: Scale, y: float, names: float, width: float) -> list[Markup]:
    told = tag("title", f"{bar.name}: {bar.figure}")
    drawn = [row_name(bar.name, names - GAP, y)]
    if bar.value is not None:
        left, right = sorted((scale(0.0), scale(bar.value)))
        look = f"fill {colour(bar.series)}"
        drawn.append(tag("rect", told, class_=look, x=left, y=y - _BAR / 2, width=right - left, height=_BAR))
        if bar.ends:
            first, last = scale(bar.ends[0]), scale(bar.ends[1])
            way = f"M{first:.2f} {y - 4:.2f}v8M{last:.2f} {y - 4:.2f}v8M{first:.2f} {y:.2f}H{last:.2f}"
            drawn.append(tag("path", class_="whisker", d=way))
    figure = shortened(bar.figure, width - scale.end - GAP / 2, FONT)
    drawn.append(tag("text", figure, class_="figure", x=scale.end + GAP / 2, y=y + 0.35 * FONT))
    return drawn
