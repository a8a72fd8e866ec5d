"""Of a run's page: does a pipeline know when it is right? ROC, calibration, risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.plots.curves import Curve, curves_plot
from ragdecode.evaluation.report.plots.frame import Axis
from ragdecode.evaluation.report.run_grid import Grid
from ragdecode.evaluation.runs.summary_shape import CellSummary

#: points of a curve that are drawn; longer ones are thinned
_POINTS = 200
#: curve -> title, its axes, whether equal values are a line to compare with, note
_KINDS: Mapping[str, tuple[str, str, str, bool, str]] = {
    "roc": ("ROC", "wrong answers trusted", "right answers trusted", True, "The dashed line is chance."),
    "calibration": (
        "Calibration",
        "confidence",
        "share of right answers",
        True,
        "Honest confidences lie on the dashed line; bins hold equally many answers.",
    ),
    "risk_coverage": (
        "Risk against coverage",
        "share of questions answered, the surest first",
        "wrong among those",
        False,
        "The lower, the better the choice of what not to answer.",
    ),
}


def confidence_section(grid: Grid) -> Markup | None:
    """Curves by metric, data set and seed; None where no metric of the run draws any."""
    cells = [cell for cell in grid.summary["cells"] if cell["curves"]]
    if not cells:
        return None
    names = list(dict.fromkeys(name for cell in cells for name in cell["curves"]))
    seeds = sorted({cell["seed"] for cell in cells})
    panels = []
    for name in names:
        for dataset in grid.datasets:
            for seed in seeds:
                chosen = [
                    cell
                    for cell in cells
                    if cell["dataset"] == dataset and cell["seed"] == seed and name in cell["curves"]
                ]
                values = {"metric": name, "dataset": dataset, "seed": str(seed)}
                cards = [card for kind in _KINDS if (card := _card(grid, chosen, name, kind)) is not None]
                content = kit.grid(*cards) if cards else kit.notice("No answers here have both right and wrong ones.")
                panels.append(kit.panel("confidence", values, content))
    fields = {
        "metric": ("metric", [(name, name) for name in names]),
        "dataset": ("data set", [(name, name) for name in grid.datasets]),
        "seed": ("seed", [(str(seed), str(seed)) for seed in seeds]),
    }
    return kit.section(
        "confidence",
        "Confidence",
        kit.chooser("confidence", fields),
        *panels,
        intro="Whether a pipeline is surer of its right answers than of its wrong ones.",
    )


def _card(grid: Grid, cells: Sequence[CellSummary], metric: str, kind: str) -> Markup | None:
    title, across, up, diagonal, note = _KINDS[kind]
    curves, rows = [], []
    for cell in cells:
        points = _points(cell["curves"][metric].get(kind) or [])
        if not points:
            continue
        at = grid.systems.index(cell["system"])
        curves.append(Curve(grid.short[cell["system"]], _thinned(points), series=at))
        rows.append([grid.named(cell["system"]), *_figures(cell, kind)])
    if not curves:
        return None
    known = {"roc": ["AUROC"], "calibration": ["ECE"], "risk_coverage": ["AURC"]}[kind]
    plot = curves_plot(
        curves, Axis(across, 0.0, 1.0), Axis(up, 0.0, 1.0), diagonal=diagonal, markers=kind == "calibration",
        label=f"{title} of {', '.join(curve.name for curve in curves)}",
    )  # fmt: skip
    head = ["pipeline", *known, *(["share right"] if kind == "risk_coverage" else [])]
    left = len(cells) - len(curves)
    told = f"{note} {left} pipelines have none: their answers are all right or all wrong." if left else note
    return kit.figure(title, plot, kit.table(title, head, rows), told)


def _figures(cell: CellSummary, kind: str) -> list[Any]:
    names = {"roc": ["auroc"], "calibration": ["ece"], "risk_coverage": ["aurc", "base_rate"]}[kind]
    found = [cell["metrics"].get(name) for name in names]
    return [kit.interval(one["mean"], one["low"], one["high"]) if one else "–" for one in found]


def _points(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(x, y) of a curve's points; bins of calibration by what was predicted."""
    return [
        (float(one["x"]), float(one["y"])) if "x" in one else (float(one["predicted"]), float(one["observed"]))
        for one in points
    ]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    if len(points) <= _POINTS:
        return points
    step = (len(points) - 1) / (_POINTS - 1)
    return [points[round(at * step)] for at in range(_POINTS)]
