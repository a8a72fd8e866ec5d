"""Rows of sentences: each as long as its text, dark where the evidence does not hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import FONT, WIDTH
from ragdecode.evaluation.report.plots.rows import FOOT, GAP, NAMES, ROW, row_name, value_axis
from ragdecode.evaluation.report.plots.scale import Scale, number
from ragdecode.evaluation.report.plots.text_width import text_width

_BAR = 16.0
#: steps of the colour ramp of the style sheet, ``v0`` (unsupported) to ``v4``; ``v`` is unscored
STEPS = 5


@dataclass(frozen=True)
class Stretch:
    """A sentence in its answer.

    Attributes:
        start: First character.
        end: After its last character.
        value: Its faithfulness, from 0 to 1; None where nothing scored it.
        text: What it says; shown on hovering.
    """

    start: int
    end: int
    value: float | None
    text: str = ""


def step(value: float | None) -> str:
    """Class of a faithfulness on the colour ramp."""
    return "v" if value is None else f"v{min(STEPS - 1, max(0, int(value * STEPS)))}"


def timeline_plot(rows: Mapping[str, Sequence[Stretch]], *, label: str, width: float = WIDTH) -> Markup:
    """Draw answers as rows of their sentences.

    Args:
        rows: At least one: sentences by the answer's name.
        label: The plot in words.
        width: Of the drawing.
    """
    names = min(max(text_width(name, FONT) for name in rows), NAMES * width) + GAP
    last = max((stretch.end for row in rows.values() for stretch in row), default=1) or 1
    top, bottom = 4.0, 4.0 + ROW * len(rows)
    scale = Scale(0.0, float(last), names, width - 2 * GAP, wanted=4)
    drawn = value_axis(scale, top, bottom, "characters of the answer", width)
    for at, (name, row) in enumerate(rows.items()):
        y = top + ROW * (at + 0.5)
        drawn.append(row_name(name, names - GAP, y))
        for stretch in row:
            left, right = scale(stretch.start), scale(stretch.end)
            score = "not scored" if stretch.value is None else f"faithfulness {number(stretch.value)}"
            title = tag("title", f"{name}, {score}: {stretch.text}")
            drawn.append(
                tag("rect", title, class_=f"stretch {step(stretch.value)}", x=left, y=y - _BAR / 2, height=_BAR,
                    width=max(1.0, right - left - 1))
            )  # fmt: skip
    return tag(
        "svg", tag("title", label), *drawn,
        class_="plot", role="img", aria_label=label, viewBox=f"0 0 {width:g} {bottom + FOOT:g}", width=width,
    )  # fmt: skip
