"""What tells series apart: a colour, and a shape or a dash beside it, so that colour is never the only way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag

#: colours of the style sheet, ``c0`` to ``c7``; series beyond begin anew, in other shapes
COLOURS = 8
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "9 3 2 3 2 3")
#: corners of shapes, on the unit circle: number, first angle in degrees
_SHAPES = (None, (4, 45), (3, -90), (4, 0), (3, 90), (5, -90), (6, 0), (8, 0))

Kind = Literal["marker", "line", "fill"]


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Attributes:
        name: In words.
        series: Number of the series.
        kind: How the series is drawn.
    """

    name: str
    series: int
    kind: Kind = "marker"


def colour(series: int) -> str:
    """Class of a series' colour."""
    return f"c{series % COLOURS}"


def dash(series: int) -> str | None:
    """Dashes of a series' line; None for a whole one."""
    return _DASHES[_form(series)]


def _form(series: int) -> int:
    """Place of a series' shape and dash: with the ninth series colours begin anew, with other shapes."""
    return (series + series // COLOURS) % COLOURS


def marker(series: int, x: float, y: float, title: str | None = None, size: float = 5.5) -> Markup:
    """A point of a series, with a title that shows on hovering."""
    told = tag("title", title) if title else None
    shape = _SHAPES[_form(series)]
    look = f"mark {colour(series)}"
    if shape is None:
        return tag("circle", told, class_=look, cx=float(x), cy=float(y), r=float(size))
    corners, first = shape
    reach = size * (1.3 if corners == 3 else 1.15)
    angles = [math.radians(first + 360 / corners * at) for at in range(corners)]
    points = " ".join(f"{x + reach * math.cos(angle):.2f},{y + reach * math.sin(angle):.2f}" for angle in angles)
    return tag("polygon", told, class_=look, points=points)


def sample(key: Key, x: float, y: float) -> Markup:
    """The drawing of a legend's entry, 20 wide, centred on ``y``."""
    if key.kind == "fill":
        return tag("rect", class_=f"fill {colour(key.series)}", x=x + 2, y=y - 6, width=14, height=12, rx=2)
    if key.kind == "line":
        return tag(
            "line", class_=f"line {colour(key.series)}", x1=x, x2=x + 20, y1=y, y2=y, stroke_dasharray=dash(key.series)
        )
    return marker(key.series, x + 9, y, size=5)
