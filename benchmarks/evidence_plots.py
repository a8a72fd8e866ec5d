"""Plots of recall and answer quality by number of passages; bands are 95 % bootstraps over questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from evidence_rows import CLOSED, GOLD, LABELS, RETRIEVERS, Rows, counts, graded, recall_points

from ragdecode.evaluation.bootstrap import Interval
from ragdecode.evaluation.evidence import Point, points

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"bm25": "#c1440e", "dense": "#2a6f97", "hybrid": "#386641", "closed book": "#777777", "gold only": "#b8860b"}
MARKS = {"bm25": "s", "dense": "^", "hybrid": "o"}
SIZE, DOTS = (5.2, 3.9), 130
#: questions below which a point says nothing
FEWEST = 5


def curves(axes: Any, found: Iterable[Point], chosen: str, counted: bool = False) -> None:
    """A line a retriever with its band; with the number of questions at each point if they differ."""
    some = [point for point in found if point.slice == chosen and point.interval.n >= FEWEST]
    for name in RETRIEVERS:
        own = [point for point in some if point.retriever == name]
        if not own:
            continue
        places = [point.k for point in own]
        label = name if counted else f"{name} (n={own[0].interval.n})"
        axes.plot(places, [100 * point.interval.mean for point in own], marker=MARKS[name], ms=5, color=COLOURS[name],
                  label=label)  # fmt: skip
        low, high = ([100 * getattr(point.interval, end) for point in own] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=COLOURS[name], alpha=0.13, lw=0)
        if counted and name == "hybrid":  # the sizes are much alike
            for point in own:
                axes.annotate(f"n={point.interval.n}", (point.k, 100 * point.interval.mean), fontsize=7,
                              xytext=(0, 6), textcoords="offset points", ha="center", color=COLOURS[name])  # fmt: skip


def level(axes: Any, name: str, found: Interval) -> None:
    """A line across for answers that do not depend on k."""
    axes.axhline(100 * found.mean, color=COLOURS[name], ls="--", lw=1.2, label=f"{name} ({100 * found.mean:.0f} %)")


def finish(axes: Any, title: str, label: str, counts: Sequence[int]) -> None:
    """Scale, names and legend."""
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.set_xlim(0.88 * counts[0], counts[-1] / 0.88)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("passages shown (k)")
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, framealpha=0.8)


def save(figure: Any, folder: Path, name: str) -> None:
    """As PNG and SVG."""
    figure.tight_layout()
    for ending in ("png", "svg"):
        figure.savefig(folder / f"{name}.{ending}", dpi=DOTS, metadata={"Date": None} if ending == "svg" else None)
    plt.close(figure)


def plot_recall(rows: Rows, folder: Path) -> None:
    """Recall of gold passages: all questions, then each set."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    figure, panels = plt.subplots(1, 1 + len(sets), figsize=(3.4 * (1 + len(sets)), 3.7), sharey=True)
    for axes, chosen in zip(panels, [None, *sets], strict=True):
        own = [row for row in rows if chosen in (None, row["set"])]
        curves(axes, recall_points(own), "all")
        questions = len({row["question"] for row in own})
        title = f"{chosen or 'all questions'} (n={questions})"
        finish(axes, title, "gold passages found (%)" if chosen is None else "", sorted({row["k"] for row in own}))
        axes.set_ylim(0, 102)
        axes.legend(fontsize=8, loc="lower right")
    save(figure, folder, "evidence-recall")


def plot_answers(rows: Rows, folder: Path) -> None:
    """Quality by k, over all questions: two metrics side by side."""
    figure, panels = plt.subplots(1, 2, figsize=(2 * SIZE[0], SIZE[1]))
    for axes, metric in zip(panels, ("contains", "f1"), strict=True):
        found = points(graded(rows, metric))
        curves(axes, found, "all")
        _levels(axes, found)
        finish(axes, "all questions", LABELS[metric], counts(rows))
    save(figure, folder, "evidence-answers")


def plot_slices(rows: Rows, folder: Path) -> None:
    """Quality where the gold passages are among the k, and where one is missing."""
    figure, panels = plt.subplots(1, 2, figsize=(2 * SIZE[0], SIZE[1]), sharey=True)
    found = points(graded(rows, "contains"))
    titles = {"found": "all gold passages are among the k", "missed": "a gold passage is missing"}
    for axes, (chosen, title) in zip(panels, titles.items(), strict=True):
        curves(axes, found, chosen, counted=True)
        _levels(axes, found)
        finish(axes, title, LABELS["contains"] if chosen == "found" else "", counts(rows))
        axes.set_ylim(0, 100)
    save(figure, folder, "evidence-slices")


def _levels(axes: Any, found: Sequence[Point]) -> None:
    for name in (CLOSED, GOLD):
        level(axes, name, _whole(found, name))


def _whole(found: Sequence[Point], name: str) -> Interval:
    """Over all numbers of passages: gold only has as many as the question has gold ones."""
    own = [point.interval for point in found if point.retriever == name and point.slice == "all"]
    total = sum(one.n for one in own)
    mean = sum(one.mean * one.n for one in own) / total
    return Interval(mean, float("nan"), float("nan"), total)
