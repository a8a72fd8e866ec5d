"""Rows of stacked parts: where the time of each system went."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import FONT, WIDTH, legend
from ragdecode.evaluation.report.plots.marks import Key, colour
from ragdecode.evaluation.report.plots.rows import FOOT, GAP, NAMES, ROW, row_name, value_axis
from ragdecode.evaluation.report.plots.scale import Scale, number, spanning
from ragdecode.evaluation.report.plots.text_width import text_width

_BAR = 16.0


def stack_plot(rows: Mapping[str, Mapping[str, float]], axis: str, *, label: str, width: float = WIDTH) -> Markup:
    """Draw one row of parts after the other, from 0 on.

    Args:
        rows: At least one: parts by name, none below 0, in the order in which they are stacked.
        axis: What the length is, with its unit.
        label: The plot in words.
        width: Of the drawing.
    """
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    totals = {name: sum(row.values()) for name, row in rows.items()}
    figures = max(text_width(number(total), FONT) for total in totals.values()) + GAP
    names = min(max(text_width(name, FONT) for name in rows), NAMES * width) + GAP
    head = legend([Key(part, at, "fill") for at, part in enumerate(parts)], width - 2 * GAP, GAP)
    top, bottom = head.height + 2, head.height + 2 + ROW * len(rows)
    low, high = spanning(totals.values(), zero=True)
    scale = Scale(low, high, names, width - figures, wanted=4)
    drawn = [head.drawing, *value_axis(scale, top, bottom, axis, width)]
    for at, (name, row) in enumerate(rows.items()):
        y = top + ROW * (at + 0.5)
        drawn.append(row_name(name, names - GAP, y))
        before = 0.0
        for part, value in row.items():
            left, right = scale(before), scale(before + value)
            before += value
            title = tag("title", f"{name}, {part}: {number(value)}")
            look = f"fill {colour(parts.index(part))}"
            drawn.append(tag("rect", title, class_=look, x=left, y=y - _BAR / 2, width=right - left, height=_BAR))
        place = scale.end + GAP / 2
        drawn.append(tag("text", number(totals[name]), class_="figure", x=place, y=y + 0.35 * FONT))
    return tag(
        "svg", tag("title", label), *drawn,
        class_="plot", role="img", aria_label=label, viewBox=f"0 0 {width:g} {bottom + FOOT:g}", width=width,
    )  # fmt: skip
