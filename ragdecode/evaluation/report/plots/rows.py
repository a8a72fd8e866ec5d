"""What plots of rows share: the height of a row, and the axis of values below them."""

from __future__ import annotations

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import FONT
from ragdecode.evaluation.report.plots.scale import Scale
from ragdecode.evaluation.report.plots.text_width import shortened, text_width

ROW, GAP = 26.0, 8.0
#: room below the rows for ticks and the axis' name
FOOT = 42.0
#: of the width, at most so much for names
NAMES = 0.4


def row_name(name: str, right: float, y: float) -> Markup:
    """A row's name, ending at ``right``; cut where it is wider, whole on hovering."""
    return tag("text", tag("title", name), shortened(name, right, FONT), class_="key end", x=right, y=y + 0.35 * FONT)


def value_axis(scale: Scale, top: float, bottom: float, name: str, width: float) -> list[Markup]:
    """Grid lines, ticks and name of the axis, and a line at 0."""
    drawn: list[Markup] = []
    labels = list(zip(scale.ticks, scale.labels(), strict=True))
    widest = max((text_width(text, FONT) for _, text in labels), default=0.0)
    span = (scale.end - scale.start) / max(1, len(labels) - 1)
    every = max(1, -(-int(widest + GAP) // max(1, int(span))))
    for tick, text in labels[::every]:
        x = scale(tick)
        drawn.append(tag("line", class_="grid", x1=x, x2=x, y1=top, y2=bottom))
        half = text_width(text, FONT) / 2
        drawn.append(tag("text", text, class_="tick middle", x=min(max(x, half), width - half), y=bottom + FONT + 2))
    zero = scale(0.0)
    drawn.append(tag("line", class_="axis", x1=zero, x2=zero, y1=top, y2=bottom))
    told = shortened(name, width - 2 * GAP, FONT)
    half = text_width(told, FONT) / 2
    middle = min(max((scale.start + scale.end) / 2, half + 2), width - half - 2)
    drawn.append(tag("text", told, class_="name middle", x=middle, y=bottom + 2 * FONT + 8))
    return drawn
