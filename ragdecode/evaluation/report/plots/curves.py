"""Curves: calibration, ROC, risk against coverage, growth over positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import Axis, Frame
from ragdecode.evaluation.report.plots.marks import Key, colour, dash, marker
from ragdecode.evaluation.report.plots.scale import number

#: A curve of more points is drawn without a marker on each.
_MARKED = 25


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        name: In the legend.
        points: (x, y) by rising x.
        band: Lower and upper end of each point's interval; empty where there are none.
        titles: What hovering over each point tells; empty for the point's figures.
        series: Number of its colour, dash and shape; its place among the curves if left out.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    titles: Sequence[str] = ()
    series: int | None = None


def curves_plot(
    curves: Sequence[Curve], x: Axis, y: Axis, *, label: str, diagonal: bool = False, markers: bool = True
) -> Markup:
    """Draw curves.

    Args:
        curves: At least one; the n-th has the n-th colour, dash and shape. An empty one has its key only.
        x: To the right.
        y: Upwards.
        label: The plot in words.
        diagonal: A line of equal values behind them: honest probabilities, or chance.
        markers: A mark on each point, where there are not too many.
    """
    numbers = [at if curve.series is None else curve.series for at, curve in enumerate(curves)]
    frame = Frame(x, y, [Key(curve.name, at, "line") for at, curve in zip(numbers, curves, strict=True)])
    drawn: list[Markup] = []
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        drawn.append(
            tag("line", class_="diagonal", x1=frame.x(low), x2=frame.x(high), y1=frame.y(low), y2=frame.y(high))
        )
    for at, curve in zip(numbers, curves, strict=True):
        drawn += _curve(frame, at, curve, markers=markers and len(curve.points) <= _MARKED)
    return frame.draw(*drawn, label=label)


def _curve(frame: Frame, series: int, curve: Curve, *, markers: bool) -> list[Markup]:
    drawn: list[Markup] = []
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    if curve.band:
        across = [place for place, _ in places]
        above = [f"{x:.2f},{frame.y(high):.2f}" for x, (_, high) in zip(across, curve.band, strict=True)]
        below = [f"{x:.2f},{frame.y(low):.2f}" for x, (low, _) in zip(across, curve.band, strict=True)]
        drawn.append(tag("polygon", class_=f"band {colour(series)}", points=" ".join([*above, *below[::-1]])))
    if len(places) > 1:
        way = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
        told = tag("title", curve.name)
        drawn.append(tag("polyline", told, class_=f"line {colour(series)}", points=way, stroke_dasharray=dash(series)))
    if markers or len(places) == 1:
        titles = curve.titles or [f"{curve.name}: {number(x)}, {number(y)}" for x, y in curve.points]
        drawn += [marker(series, x, y, told, 4.5) for (x, y), told in zip(places, titles, strict=True)]
    return drawn
