"""Of a run's page: quality against speed and against faithfulness, and the frontier of what no other beats."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.points import Point, frontier, points_plot
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.evaluation.report.run_grid import Grid, scores

_SPEED = "tokens/s"
#: value, and its interval
Place = tuple[float | None, tuple[float, float] | None]


def tradeoffs_section(grid: Grid) -> Markup | None:
    """Plots by data set and metric; None where nothing was measured."""
    names = [name for name in grid.quality if any(grid.figure(s, "", name)["mean"] is not None for s in grid.systems)]
    if not names:
        return None
    panels = []
    for dataset, _ in grid.choices():
        for name in names:
            values = {"dataset": dataset, "metric": name}
            if cards := _cards(grid, dataset, name):
                panels.append(kit.panel("tradeoffs", values, kit.grid(*cards)))
            else:
                told = kit.notice("No pipeline has both figures here.")
                panels.append(kit.panel("tradeoffs", values, told))
    fields = {
        "metric": ("metric", [(name, grid.metrics[name]["title"]) for name in names]),
        "dataset": ("data set", grid.choices()),
    }
    return kit.section(
        "tradeoffs",
        "What quality costs",
        kit.chooser("tradeoffs", fields),
        *panels,
        intro="The dashed line joins the pipelines that no other beats on both axes. Lines through points are "
        "intervals of 95 %.",
    )


def _cards(grid: Grid, dataset: str, name: str) -> list[Markup]:
    title = grid.metrics[name]["title"]

    def quality(system: str) -> Place:
        figure = grid.figure(system, dataset, name)
        return figure["mean"], _ends(figure["low"], figure["high"])

    def speed(system: str) -> Place:
        return grid.speed(system, dataset, "tokens_per_second"), None

    cards = [_card(grid, f"{title} against speed", (_SPEED, speed), (title, quality))]
    if (faithful := _faithfulness(grid, dataset, name)) is not None:
        label, place = faithful
        cards.append(_card(grid, f"{title} against faithfulness", (label, place), (title, quality)))
        cards.append(_card(grid, "Faithfulness against speed", (_SPEED, speed), (label, place)))
    return [card for card in cards if card is not None]


def _faithfulness(grid: Grid, dataset: str, name: str) -> tuple[str, Callable[[str], Place]] | None:
    """What tells faithfulness on an axis: a metric other than the one shown, else the monitors' scores."""
    metric = grid.faithfulness
    if metric is not None and metric != name:

        def measured(system: str) -> Place:
            figure = grid.figure(system, dataset, metric)
            return figure["mean"], _ends(figure["low"], figure["high"])

        return grid.metrics[metric]["title"], measured

    def watched(system: str) -> Place:
        found = scores(grid.answers(system, dataset))
        return (sum(found) / len(found) if found else None), None

    if any(watched(system)[0] is not None for system in grid.systems):
        return "faithfulness by the monitor, mean of sentences", watched
    return None


def _card(
    grid: Grid, title: str, x: tuple[str, Callable[[str], Place]], y: tuple[str, Callable[[str], Place]]
) -> Markup | None:
    points, rows = [], []
    for at, system in enumerate(grid.systems):
        (across, x_ends), (up, y_ends) = x[1](system), y[1](system)
        known = across is not None and up is not None
        rows.append([grid.named(system), across, kit.interval(up, *(y_ends or (None, None))), known])
        if across is not None and up is not None:
            points.append((at, Point(grid.short[system], across, up, x_ends, y_ends)))
    if not points:
        return None
    best = {point.name for point in frontier([point for _, point in points])}
    shown = [
        [*row[:3], "yes" if grid.short[grid.systems[at]] in best else "no" if row[3] else "–"]
        for at, row in enumerate(rows)
    ]
    figures = kit.table(title, ["pipeline", x[0], y[0], "on the frontier"], shown)
    missing = len(grid.systems) - len(points)
    note = f"{missing} of {len(grid.systems)} pipelines lack one of the two figures." if missing else None
    label = f"{title}: " + "; ".join(f"{one.name} {number(one.x)}, {number(one.y)}" for _, one in points)
    plot = points_plot(
        [point for _, point in points], x[0], y[0], label=label, series=[at for at, _ in points], x_zero=x[0] == _SPEED
    )
    return kit.figure(title, plot, figures, tag("span", note) if note else None)


def _ends(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)
