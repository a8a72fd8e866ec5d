"""Points with intervals on two axes, and the frontier of those that no other beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import Axis, Frame
from ragdecode.evaluation.report.plots.marks import Key, colour, marker
from ragdecode.evaluation.report.plots.scale import number, spanning

#: An axis is logarithmic where its largest value is so many times its smallest.
_WIDE = 20.0


@dataclass(frozen=True)
class Point:
    """One point.

    Attributes:
        name: In the legend.
        x: To the right.
        y: Upwards.
        x_ends: Its interval to the right.
        y_ends: Its interval upwards.
    """

    name: str
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


def frontier(points: Sequence[Point], *, x_up: bool = True, y_up: bool = True) -> list[Point]:
    """Points that no other one beats: at least as good on both axes and better on one; by rising x.

    Args:
        points: All points.
        x_up: Higher is better to the right.
        y_up: Higher is better upwards.
    """
    goods = [(point, point.x if x_up else -point.x, point.y if y_up else -point.y) for point in points]
    kept = [
        point
        for point, x, y in goods
        if not any(other_x >= x and other_y >= y and (other_x > x or other_y > y) for _, other_x, other_y in goods)
    ]
    return sorted(kept, key=lambda point: (point.x, point.y))


def points_plot(
    points: Sequence[Point], x_label: str, y_label: str, *, label: str, x_up: bool = True, y_up: bool = True,
    series: Sequence[int] | None = None, x_zero: bool = True,
) -> Markup:  # fmt: skip
    """Draw points, their intervals, and the frontier as a dashed line.

    Args:
        points: At least one.
        x_label: With its unit; the axis becomes logarithmic where values differ much.
        y_label: With its unit.
        label: The plot in words.
        x_up: Higher is better to the right.
        y_up: Higher is better upwards.
        series: Number of each point's colour and shape; the n-th has the n-th if left out.
        x_zero: The axis to the right begins at 0, unless it is logarithmic.
    """
    numbers = range(len(points)) if series is None else series
    across = [value for point in points for value in (point.x, *(point.x_ends or ()))]
    upwards = [value for point in points for value in (point.y, *(point.y_ends or ()))]
    log = min(across) > 0 and max(across) / min(across) > _WIDE
    share = min(upwards) >= 0 and max(upwards) <= 1
    low, high = spanning(upwards, room=0.12)
    y_axis = Axis(y_label, max(low, 0.0) if share else low, min(high, 1.0) if share and max(upwards) < 1 else high)
    x_low, x_high = spanning(across, log=log, zero=x_zero and not log, room=0.08 if x_zero else 0.12)
    x_axis = Axis(f"{x_label}, logarithmic" if log else x_label, x_low, x_high, log)
    frame = Frame(x_axis, y_axis, [Key(point.name, at) for at, point in zip(numbers, points, strict=True)])
    drawn: list[Markup] = []
    best = frontier(points, x_up=x_up, y_up=y_up)
    if len(best) > 1:
        way = " ".join(f"{frame.x(point.x):.2f},{frame.y(point.y):.2f}" for point in best)
        drawn.append(tag("polyline", tag("title", "frontier"), class_="frontier", points=way))
    for at, point in zip(numbers, points, strict=True):
        drawn += _reach(frame, at, point)
    for at, point in zip(numbers, points, strict=True):
        told = f"{point.name}: {x_label} {number(point.x)}, {y_label} {number(point.y)}"
        drawn.append(marker(at, frame.x(point.x), frame.y(point.y), told, size=6.5))
    return frame.draw(*drawn, label=label)


def _reach(frame: Frame, series: int, point: Point) -> list[Markup]:
    x, y, look = frame.x(point.x), frame.y(point.y), f"reach {colour(series)}"
    drawn = []
    if point.y_ends:
        drawn.append(tag("line", class_=look, x1=x, x2=x, y1=frame.y(point.y_ends[0]), y2=frame.y(point.y_ends[1])))
    if point.x_ends:
        drawn.append(tag("line", class_=look, x1=frame.x(point.x_ends[0]), x2=frame.x(point.x_ends[1]), y1=y, y2=y))
    return drawn
