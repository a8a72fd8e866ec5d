"""The frame of a plot: axes with ticks and units, a legend above, margins as wide as their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.marks import Key, sample
from ragdecode.evaluation.report.plots.scale import Scale
from ragdecode.evaluation.report.plots.text_width import shortened, text_width

WIDTH, HEIGHT = 520, 330
FONT = 13.0
_LINE, _GAP, _TICK = 20.0, 8.0, 5.0
_SAMPLE = 26.0
_MOST_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: What it shows, with its unit.
        low: Lower end.
        high: Upper end.
        log: Logarithmic.
    """

    label: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Legend:
    """Keys in lines, as many as fit side by side."""

    drawing: Markup
    height: float


def legend(keys: Sequence[Key], width: float, left: float = 0.0, font: float = FONT) -> Legend:
    """Lay out a legend.

    Args:
        keys: Its entries.
        width: Room from ``left`` on; names that are wider than a line are cut.
        left: Where lines begin.
        font: Font size.
    """
    drawn: list[Markup] = []
    x, row = left, 0
    for key in keys:
        name = shortened(key.name, width - _SAMPLE, font)
        needed = _SAMPLE + text_width(name, font)
        if x > left and x + needed > left + width:
            x, row = left, row + 1
        y = _LINE * (row + 0.5)
        told = tag("title", key.name) if name != key.name else None
        drawn += [sample(key, x, y), tag("text", told, name, class_="key", x=x + _SAMPLE, y=y + 0.35 * font)]
        x += needed + 2 * _GAP
    return Legend(joined(*drawn), _LINE * (row + 1) + _GAP if keys else 0.0)


class Frame:
    """Axes, grid and legend of a plot, and the scales to draw into it.

    Attributes:
        x: Scale to the right.
        y: Scale upwards.
    """

    def __init__(
        self, x: Axis, y: Axis, keys: Sequence[Key] = (), *, width: float = WIDTH, height: float = HEIGHT
    ) -> None:
        self._axes = (x, y)
        self._size = (width, height)
        self._legend = legend(keys, width - 2 * _GAP, _GAP)
        top, bottom = self._legend.height + _GAP, height - 2 * _LINE - _TICK
        self.y = Scale(y.low, y.high, bottom, top, y.log)
        left = max(text_width(text, FONT) for text in (*self.y.labels(), "0")) + _LINE + _TICK + _GAP
        for wanted in range(_MOST_TICKS, 0, -1):
            probe = Scale(x.low, x.high, 0, 1, x.log, wanted)
            widths = [text_width(text, FONT) for text in probe.labels()] or [0.0]
            left, right = max(left, widths[0] / 2), width - max(_GAP, widths[-1] / 2)
            self.x = Scale(x.low, x.high, left, right, x.log, wanted)
            places = [self.x(tick) for tick in self.x.ticks]
            room = min((b - a for a, b in pairwise(places)), default=right - left)
            if max(widths) + _GAP <= room:
                break

    def draw(self, *content: Markup, label: str) -> Markup:
        """The whole plot as one ``svg`` element.

        Args:
            content: What is drawn into the frame.
            label: The plot in words, for readers that see no picture.
        """
        width, height = self._size
        return tag(
            "svg", tag("title", label), self._legend.drawing, *self._grid(), *content, *self._titles(),
            class_="plot", role="img", aria_label=label, viewBox=f"0 0 {width:g} {height:g}", width=width,
        )  # fmt: skip

    def _grid(self) -> list[Markup]:
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        drawn: list[Markup] = []
        for tick, text in zip(self.y.ticks, self.y.labels(), strict=True):
            y = self.y(tick)
            drawn.append(tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
            drawn.append(tag("text", text, class_="tick end", x=left - _TICK - 2, y=y + 0.35 * FONT))
        for tick, text in zip(self.x.ticks, self.x.labels(), strict=True):
            x = self.x(tick)
            drawn.append(tag("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + _TICK))
            drawn.append(tag("text", text, class_="tick middle", x=x, y=bottom + _TICK + FONT))
        drawn.append(tag("path", class_="axis", d=f"M{left:.2f} {top:.2f}V{bottom:.2f}H{right:.2f}"))
        return drawn

    def _titles(self) -> list[Markup]:
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        (x, y), (_, height) = self._axes, self._size
        across, up = shortened(x.label, right - left, FONT), shortened(y.label, bottom - top, FONT)
        middle = (top + bottom) / 2
        turned = f"translate({FONT:g} {middle:.2f})rotate(-90)"
        return [
            tag("text", across, class_="name middle", x=(left + right) / 2, y=height - _GAP),
            tag("text", up, class_="name middle", x=0.0, y=0.0, transform=turned),
        ]
