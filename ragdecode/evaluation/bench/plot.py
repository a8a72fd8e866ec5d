"""The figures of a benchmark as a picture: speeds with their intervals, and what each drafter's tokens were worth."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError

FORMATS = (".png", ".svg")
_SPEEDS = {
    "tokens_per_second": ("whole answers", "#2a6f97"),
    "decode_tokens_per_second": ("after the first token", "#c1440e"),
}
_ACCEPTED, _PROPOSED = "#386641", "#d8d8d8"
_BAR = 0.38
_DOTS = 140


def check_plot(file: Path) -> None:
    """Refuse a plot that could not be written, before anything is measured.

    Raises:
        InputError: Its format is not known, its folder does not exist, or matplotlib is not installed.
    """
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"cannot plot to {file}: its name must end with {' or '.join(FORMATS)}")
    if not file.resolve().parent.is_dir():
        raise InputError(f"cannot write {file}: its folder does not exist", hint="make the folder first")
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("a plot needs matplotlib, not installed here", hint='pip install "ragdecode[plots]"')


def plot(found: Mapping[str, Any], suffix: str) -> bytes:
    """Draw the object that ``bench --json`` prints.

    Args:
        found: The object.
        suffix: ``.png`` or ``.svg``.

    Returns:
        The image file's content.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batches = found["batches"]
    sources = {name: row["sources"] for name, row in found["contenders"].items() if row["sources"]}
    heights = [3.6, *(0.9 + 0.34 * len(rows) for rows in sources.values())]
    figure = Figure(
        figsize=(max(6.4, sum(_width(one) for one in batches.values())), sum(heights)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    widths = [_width(one) for one in batches.values()]
    speeds = grid[0].subgridspec(1, len(batches), width_ratios=widths)
    for place, (size, one) in enumerate(batches.items()):
        _speeds(figure.add_subplot(speeds[place]), one["contenders"], size, legend=not place)
    for place, (name, rows) in enumerate(sources.items(), start=1):
        _sources(figure.add_subplot(grid[place]), name, rows)
    run, machine = found["run"], found["machine"]
    figure.suptitle(
        f"{run['headline']}\n{run['prompts']} prompts, median of {run['repeats']}, temperature {run['temperature']:g}; "
        f"{machine['processor'] or machine['system']}, {machine['threads']} threads, {machine['dtype']}",
        fontsize=8,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix.lower().removeprefix("."), dpi=_DOTS)
    return stream.getvalue()


def _width(found: Mapping[str, Any]) -> float:
    """Inches for the bars of a batch size."""
    return 1.2 + 1.15 * len(found["contenders"])


def _speeds(axes: Any, contenders: Mapping[str, Mapping[str, Any]], size: str, *, legend: bool) -> None:
    """Two bars a contender, with 95 % intervals."""
    names = list(contenders)
    for offset, (key, (label, colour)) in zip((-_BAR / 2, _BAR / 2), _SPEEDS.items(), strict=True):
        values = [contenders[name][key] or 0.0 for name in names]
        places = [place + offset for place in range(len(names))]
        axes.bar(places, values, _BAR, label=label, color=colour)
        for place, name, value in zip(places, names, values, strict=True):
            ends = contenders[name][f"{key}_interval"] or [value, value]
            reach = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
            axes.errorbar([place], [value], yerr=reach, color="black", lw=1, capsize=3, fmt="none")
            top = (place, max(value, ends[1]))
            axes.annotate(f"{value:.1f}", top, (0, 3), textcoords="offset points", ha="center", fontsize=7)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(names)), [name.replace("ragdecode-", "ragdecode\n") for name in names], fontsize=7)
    axes.set_ylabel("tokens per second")
    axes.set_title("one prompt at a time" if size == "1" else f"{size} prompts together", fontsize=9)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    if legend:
        axes.legend(fontsize=7, framealpha=0.8)


def _sources(axes: Any, name: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Of each drafter, the tokens it proposed and the share that was accepted."""
    names = sorted(rows, key=lambda source: rows[source]["proposed"])
    axes.barh(names, [rows[source]["proposed"] for source in names], color=_PROPOSED)
    axes.barh(names, [rows[source]["accepted"] for source in names], color=_ACCEPTED)
    for place, source in enumerate(names):
        row = rows[source]
        share = "" if row["share"] is None else f" ({row['share']:.0%})"
        told = f" {row['accepted']} of {row['proposed']}{share}"
        axes.annotate(told, (row["proposed"], place), va="center", fontsize=7)
    axes.set_xlim(0, 1.35 * max(1, *(row["proposed"] for row in rows.values())))  # the longest bar's label fits too
    axes.tick_params(labelsize=7)
    axes.set_title(f"draft tokens of {name}, by source: accepted of proposed", fontsize=9)
