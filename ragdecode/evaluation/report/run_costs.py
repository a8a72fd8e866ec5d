"""Of a run's page: time and memory by stage, and what failed."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.plots.bars import Bar, bars_plot
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.evaluation.report.plots.stack import stack_plot
from ragdecode.evaluation.report.run_grid import Grid

_KINDS = {
    "deadline": "took too long",
    "input": "cannot be asked",
    "run": "memory, disk or weights",
    "part": "a part failed",
}


def costs_section(grid: Grid) -> Markup | None:
    """Seconds by stage, tokens per second and peaks of memory; None where nothing was answered."""
    if not any(cell["answered"] for cell in grid.summary["cells"]):
        return None
    panels = [kit.panel("costs", {"dataset": value}, *_costs(grid, value)) for value, _ in grid.choices()]
    cached = sum(cell["speed"]["cached"] for cell in grid.summary["cells"])
    told = (
        f" {cached:,} answers were taken over from equal requests; they count with their first cost." if cached else ""
    )
    return kit.section(
        "costs",
        "Time and memory",
        kit.chooser("costs", {"dataset": ("data set", grid.choices())}),
        *panels,
        intro="Seconds are means a sample. Answers that are decoded together share their seconds; what passed on the "
        f"clock is told beside them. Memory is the process's peak.{told}",
    )


def _costs(grid: Grid, dataset: str) -> list[Markup]:
    stages = {grid.short[system]: own for system in grid.systems if (own := grid.stages(system, dataset))}
    rates = {system: grid.speed(system, dataset, "tokens_per_second") for system in grid.systems}
    peaks = {system: grid.memory(system, dataset) for system in grid.systems}
    cards = []
    if stages:
        cards.append(kit.figure("Time a sample", stack_plot(stages, "seconds a sample", label="Seconds by stage")))
    for title, unit, found in (
        ("Speed", "tokens per second", rates),
        ("Memory", "peak, MB", peaks),
    ):
        bars = [
            Bar(grid.short[system], value, series=grid.systems.index(system))
            for system, value in found.items()
            if value is not None
        ]
        if bars:
            label = f"{title}: " + "; ".join(f"{bar.name} {number(bar.value)} {unit}" for bar in bars)
            cards.append(kit.figure(title, bars_plot(bars, unit, label=label)))
    return [kit.grid(*cards), _table(grid, dataset)]


def _table(grid: Grid, dataset: str) -> Markup:
    stages = list(dict.fromkeys(stage for system in grid.systems for stage in grid.stages(system, dataset)))
    rows = []
    for system in grid.systems:
        own = grid.stages(system, dataset)
        wall = [cell["speed"]["wall_seconds"] for cell in grid.cells(system, dataset)]
        known = [one for one in wall if one is not None]
        rows.append(
            [
                grid.named(system),
                *(own.get(stage) for stage in stages),
                *(
                    grid.speed(system, dataset, name)
                    for name in (
                        "tokens_per_second", "decode_tokens_per_second", "wall_tokens_per_second", "prompt_tokens",
                        "new_tokens", "mean_accepted",
                    )
                ),
                sum(known) if known else None,
                grid.memory(system, dataset),
            ]
        )  # fmt: skip
    head = [
        "pipeline", *(f"{stage}, s" for stage in stages), "tokens/s", "of decoding", "on the clock", "prompt tokens",
        "new tokens", "tokens a step", "clock, s", "memory, MB",
    ]  # fmt: skip
    return kit.table("Cost of a sample", head, rows, sortable=True)


def failures_section(grid: Grid) -> Markup | None:
    """Failures by kind and reason; None where nothing failed."""
    if not grid.summary["failed"]:
        return None
    rows = []
    for system in grid.systems:
        for dataset in grid.datasets:
            cells = grid.cells(system, dataset)
            kinds: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            for cell in cells:
                kinds.update(cell["failures"])
                reasons.update(cell["reasons"])
            if not kinds:
                continue
            told = "; ".join(f"{_KINDS.get(kind, kind)}: {count}" for kind, count in kinds.most_common())
            why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
            failed, samples = sum(kinds.values()), sum(cell["samples"] for cell in cells)
            name = grid.named(system)
            shown = kit.cell(f"{failed} of {samples}", value=failed)
            rows.append([name, dataset, shown, kit.cell(told, look="text"), kit.cell(why, look="text")])
    return kit.section(
        "failures",
        "What failed",
        kit.table("Failures", ["pipeline", "data set", "failed", "kind", "most frequent reasons"], rows, sortable=True),
        intro="Failures are counted and left out of the means: compare scores only where few samples failed.",
    )
