"""Of a run's page: a line a pipeline, the tables of scores, and whether differences are more than chance."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.evaluation.report.run_grid import Grid

#: metrics that a pipeline's line names
_TOLD = 3
_LEVEL = 0.05


def headlines_section(grid: Grid) -> Markup:
    """A line a pipeline: what it is, and its main figures over all data sets."""
    names = grid.quality[:_TOLD]
    if grid.faithfulness and grid.faithfulness not in names:
        names = [*names[: _TOLD - 1], grid.faithfulness]
    lines = []
    for at, system in enumerate(grid.summary["systems"]):
        told = [tag("span", f"{grid.metrics[name]['title']} {number(system['metrics'].get(name))}") for name in names]
        told.append(tag("span", f"{number(system['tokens_per_second'])} tokens/s"))
        if system["failed"]:
            told.append(tag("span", f"{system['failed']} failed", class_="bad"))
        figures = joined(*(joined(one, " ") for one in told))
        said = joined(tag("b", system["system"]), tag("code", system["headline"]) if system["headline"] else None)
        lines.append(tag("li", kit.swatch(at), tag("div", said), tag("div", figures, class_="figs")))
    intro = "Means over the data sets; tokens per second count each answer's own seconds of reading and writing."
    return kit.section("pipelines", "Pipelines", tag("ul", *lines, class_="headlines"), intro=intro)


def scores_section(grid: Grid) -> Markup:
    """A table a data set: all metrics of all pipelines with their intervals."""
    panels = [kit.panel("scores", {"dataset": value}, _scores(grid, value, told)) for value, told in grid.choices()]
    form = kit.chooser("scores", {"dataset": ("data set", grid.choices())})
    return kit.section(
        "scores",
        "Scores",
        form,
        *panels,
        intro="Means with bootstrap intervals of 95 %, none for means over data sets; the best of a column stands out. "
        "Where a figure is missing, hovering over it says why. Intervals overlap for systems that differ: the "
        "comparisons below are paired.",
    )


def _scores(grid: Grid, dataset: str, told: str) -> Markup:
    head = ["pipeline", *(one["title"] for one in grid.metrics.values()), "answered"]
    best = {name: _best(grid, dataset, name) for name in grid.metrics}
    rows = []
    for system in grid.systems:
        cells = grid.cells(system, dataset)
        answered, samples = sum(c["answered"] for c in cells), sum(c["samples"] for c in cells)
        row: list[Any] = [grid.named(system)]
        for name in grid.metrics:
            figure = grid.figure(system, dataset, name)
            mean = figure["mean"]
            why = figure["why"] or (f"{figure['n']} samples" + _without(figure["missing"]))
            look = "best" if mean is not None and mean == best[name] else None
            row.append(kit.cell(kit.interval(mean, figure["low"], figure["high"]), value=mean, look=look, title=why))
        row.append(kit.cell(f"{answered} of {samples}", value=answered / samples if samples else None))
        rows.append(row)
    return kit.table(f"Scores on {told}", head, rows, sortable=True)


def _without(missing: int) -> str:
    return f", {missing} have no value" if missing else ""


def _best(grid: Grid, dataset: str, name: str) -> float | None:
    """The best mean of a metric; None where there is nothing to choose."""
    means = [mean for system in grid.systems if (mean := grid.figure(system, dataset, name)["mean"]) is not None]
    if len(set(means)) < 2 or name == "length":
        return None
    return max(means) if grid.metrics[name]["higher_is_better"] else min(means)


def comparisons_section(grid: Grid) -> Markup | None:
    """Paired differences between pipelines with p-values, corrected for their number."""
    found = [one for one in grid.summary["comparisons"] if one["metric"] in grid.metrics]
    if not found:
        return None
    names = list(dict.fromkeys(one["metric"] for one in found))
    names.sort(key=lambda name: grid.quality.index(name) if name in grid.quality else len(names))
    panels = []
    for name in names:
        facts = grid.metrics[name]
        rows = []
        for one in found:
            if one["metric"] != name:
                continue
            difference, p = one["difference"], one["p_holm"]
            look = None
            if difference and p is not None and p <= _LEVEL:
                look = "good" if (difference > 0) == facts["higher_is_better"] else "bad"
            shown = kit.interval(difference, one["low"], one["high"])
            rows.append(
                [
                    f"{grid.short[one['system']]} against {grid.short[one['baseline']]}",
                    one["dataset"],
                    kit.cell(shown, value=difference, look=look),
                    kit.cell(_chance(one["p"]), value=one["p"]),
                    kit.cell(_chance(p), value=p),
                    one["n"],
                ]
            )
        head = ["pipelines", "data set", "difference", "p", "p, corrected", "pairs"]
        caption = f"{facts['title']}: differences on the same examples"
        panels.append(kit.panel("comparisons", {"metric": name}, kit.table(caption, head, rows, sortable=True)))
    choices = [(name, grid.metrics[name]["title"]) for name in names]
    return kit.section(
        "comparisons",
        "Paired differences",
        kit.chooser("comparisons", {"metric": ("metric", choices)}),
        *panels,
        intro="Differences of the same examples with bootstrap intervals of 95 %; p by a permutation test that flips "
        "signs; corrected by Holm's method over all comparisons of the metric. In colour: at most 5 % after that.",
    )


def _chance(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
