"""From the journal's records to the summary: means with intervals, failures, speed, comparisons."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.metric import CellMetric, CellRecords, Facts, Metric
from ragdecode.evaluation.paired import holm, permutation_test
from ragdecode.evaluation.runs.record import Cell, Record
from ragdecode.evaluation.runs.summary_shape import (
    FORMAT,
    CellSummary,
    Comparison,
    Figure,
    MetricFacts,
    Speed,
    Summary,
    SystemSummary,
)

#: resamples of an interval of a cell's own metric, which is computed anew for each
_CELL_RESAMPLES = 300
#: most frequent reasons of failures that are told
_REASONS = 5


@dataclass(frozen=True)
class Plan:
    """What a run is: enough to sum up its journal.

    Attributes:
        name: Its name.
        config: Hash of its resolved configuration.
        cells: All cells, in order, each with the number of its samples.
        headlines: A pipeline in one line, by system.
        metrics: Metrics over answers.
        cell_metrics: Metrics over cells.
        baseline: System that the others are compared with.
        pairs: Compare with the ``baseline`` only, or ``all`` pairs.
        description: One line about it.
        versions: Versions of what it runs on.
        machine: What it runs on.
        notes: What a reader should know.
    """

    name: str
    config: str
    cells: Mapping[Cell, int]
    headlines: Mapping[str, str]
    metrics: Sequence[Metric[Any]]
    cell_metrics: Sequence[CellMetric[Any]] = ()
    baseline: str = ""
    pairs: Literal["baseline", "all"] = "baseline"
    description: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def summarise(plan: Plan, records: Sequence[Record]) -> Summary:
    """The summary of a journal, whole or not.

    Args:
        plan: The run.
        records: Its lines, in any order, each sample of each cell at most once.
    """
    by_cell: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_cell[record.cell.key].append(record)
    for found in by_cell.values():
        found.sort(key=lambda record: record.id)  # so that the order of finishing changes no last bit
    cells = [_cell(plan, cell, by_cell) for cell in plan.cells]
    values = [name for metric in plan.metrics for name in metric.facts]
    return {
        "format": FORMAT,
        "name": plan.name,
        "description": plan.description,
        "config": plan.config,
        "complete": all(len(by_cell[cell.key]) >= count for cell, count in plan.cells.items()),
        "samples": sum(cell["samples"] for cell in cells),
        "failed": sum(cell["failed"] for cell in cells),
        "versions": dict(plan.versions),
        "machine": dict(plan.machine),
        "metrics": _facts(plan),
        "systems": _systems(cells),
        "cells": cells,
        "baseline": plan.baseline,
        "comparisons": _comparisons(plan, by_cell, values),
        "notes": list(plan.notes),
    }


def _facts(plan: Plan) -> dict[str, MetricFacts]:
    def told(facts: Mapping[str, Facts], scope: str) -> dict[str, MetricFacts]:
        return {
            name: {
                "title": one.title,
                "description": one.description,
                "higher_is_better": one.higher_is_better,
                "scope": scope,
            }
            for name, one in facts.items()
        }

    found: dict[str, MetricFacts] = {}
    for metric in plan.metrics:
        found |= told(metric.facts, "example")
    for cell_metric in plan.cell_metrics:
        found |= told(cell_metric.facts, "cell")
    return found


def _cell(plan: Plan, cell: Cell, by_cell: Mapping[str, Sequence[Record]]) -> CellSummary:
    records = by_cell.get(cell.key, ())
    answered = [record for record in records if record.error is None]
    failed = [record.error for record in records if record.error is not None]
    figures = {name: _figure(answered, name) for metric in plan.metrics for name in metric.facts}
    curves: dict[str, Any] = {}
    others = {
        other.dataset: [record for record in by_cell.get(other.key, ()) if record.error is None]
        for other in plan.cells
        if (other.pipeline, other.settings, other.seed) == (cell.pipeline, cell.settings, cell.seed)
    }
    for metric in plan.cell_metrics:
        group = CellRecords(answered, others)
        figures |= _cell_figures(metric, group)
        if (curve := metric.curve(group)) is not None:
            curves[metric.part_name] = curve
    return {
        **_head(cell),  # type: ignore[typeddict-item]
        "headline": plan.headlines.get(cell.system, ""),
        "samples": len(records),
        "answered": len(answered),
        "failed": len(failed),
        "failures": dict(Counter(error.kind for error in failed)),
        "reasons": dict(Counter(error.message for error in failed).most_common(_REASONS)),
        "metrics": figures,
        "speed": _speed(answered),
        "curves": curves,
    }


def _head(cell: Cell) -> dict[str, Any]:
    return cell.to_json()


def _figure(answered: Sequence[Record], name: str) -> Figure:
    found = [value for record in answered if (value := record.metrics.get(name)) is not None]
    missing = len(answered) - len(found)
    if not found:
        why = "no sample has a value" if answered else "no sample was answered"
        return {"mean": None, "low": None, "high": None, "n": 0, "missing": missing, "why": why}
    ends = interval(found)
    return {"mean": ends.mean, "low": ends.low, "high": ends.high, "n": ends.n, "missing": missing, "why": None}


def _cell_figures(metric: CellMetric[Any], group: CellRecords) -> dict[str, Figure]:
    """A cell's own metrics with intervals over resampled answers; resamples without a value are left out."""
    import numpy as np

    records = group.records
    means = metric.of_cell(group)
    chance = np.random.default_rng(0)
    drawn: dict[str, list[float]] = defaultdict(list)
    if records and any(value is not None for value in means.values()):
        for _ in range(_CELL_RESAMPLES):
            sample = [records[at] for at in chance.integers(len(records), size=len(records))]
            for name, value in metric.of_cell(CellRecords(sample, group.others)).items():
                if value is not None:
                    drawn[name].append(value)
    figures: dict[str, Figure] = {}
    for name in metric.facts:
        mean = means.get(name)
        if mean is None:
            why = metric.why(group)
            figures[name] = {"mean": None, "low": None, "high": None, "n": len(records), "missing": 0, "why": why}
            continue
        low, high = (float(end) for end in np.quantile(drawn[name], [0.025, 0.975])) if drawn[name] else (mean, mean)
        figures[name] = {"mean": mean, "low": low, "high": high, "n": len(records), "missing": 0, "why": None}
    return figures


def _speed(answered: Sequence[Record]) -> Speed:
    stats = [record.stats for record in answered if record.stats]
    seconds = {
        stage: fmean(one["seconds"].get(stage) or 0.0 for one in stats) if stats else 0.0
        for stage in ("retrieve", "prefill", "decode")
    }
    tokens = sum(one["new_tokens"] for one in stats)
    busy = sum(one["seconds"]["prefill"] + one["seconds"]["decode"] for one in stats)
    later = sum(max(0, one["new_tokens"] - 1) for one in stats)
    decoding = sum(one["seconds"]["decode"] for one in stats if one["new_tokens"] > 1)
    fresh = [one for one in stats if not one.get("cached")]
    wall = sum(one.get("wall_seconds") or 0.0 for one in fresh)
    made = sum(one["new_tokens"] for one in fresh)
    peaks = [one["peak_memory_mb"] for one in stats if one.get("peak_memory_mb") is not None]
    return {
        "tokens_per_second": tokens / busy if busy else None,
        "decode_tokens_per_second": later / decoding if decoding else None,
        "new_tokens": tokens / len(stats) if stats else None,
        "prompt_tokens": fmean(one["prompt_tokens"] for one in stats) if stats else None,
        "mean_accepted": fmean(one["mean_accepted"] for one in stats) if stats else None,
        "seconds": seconds,
        "wall_seconds": wall if fresh else None,
        "wall_tokens_per_second": made / wall if wall else None,
        "peak_memory_mb": max(peaks) if peaks else None,
        "cached": len(stats) - len(fresh),
    }


def _systems(cells: Sequence[CellSummary]) -> list[SystemSummary]:
    groups: dict[str, list[CellSummary]] = defaultdict(list)
    for cell in cells:
        groups[cell["system"]].append(cell)
    systems: list[SystemSummary] = []
    for system, own in groups.items():
        means: dict[str, float | None] = {}
        for name in own[0]["metrics"]:
            values = [mean for cell in own if (mean := cell["metrics"][name]["mean"]) is not None]
            means[name] = fmean(values) if values else None
        rates = [rate for cell in own if (rate := cell["speed"]["tokens_per_second"]) is not None]
        systems.append(
            {
                "system": system,
                "pipeline": own[0]["pipeline"],
                "settings": own[0]["settings"],
                "headline": own[0]["headline"],
                "samples": sum(cell["samples"] for cell in own),
                "failed": sum(cell["failed"] for cell in own),
                "metrics": means,
                "tokens_per_second": fmean(rates) if rates else None,
            }
        )
    return systems


def _comparisons(plan: Plan, by_cell: Mapping[str, Sequence[Record]], values: Sequence[str]) -> list[Comparison]:
    systems = list(dict.fromkeys(cell.system for cell in plan.cells))
    datasets = list(dict.fromkeys(cell.dataset for cell in plan.cells))
    if plan.pairs == "all":
        pairs = [(one, other) for at, other in enumerate(systems) for one in systems[at + 1 :]]
    else:
        pairs = [(one, plan.baseline) for one in systems if one != plan.baseline]
    found: list[Comparison] = []
    for metric in values:
        scores = {
            (system, dataset): _by_example(plan, by_cell, system, dataset, metric)
            for system in systems
            for dataset in datasets
        }
        family = [
            _comparison(metric, dataset, one, other, scores[one, dataset], scores[other, dataset])
            for dataset in datasets
            for one, other in pairs
        ]
        for comparison, corrected in zip(family, holm([one["p"] for one in family]), strict=True):
            comparison["p_holm"] = corrected
        found += family
    return found


def _by_example(
    plan: Plan, by_cell: Mapping[str, Sequence[Record]], system: str, dataset: str, metric: str
) -> dict[str, float]:
    """A system's value by example, the mean over seeds."""
    values: dict[str, list[float]] = defaultdict(list)
    for cell in plan.cells:
        if (cell.system, cell.dataset) == (system, dataset):
            for record in by_cell.get(cell.key, ()):
                value = record.metrics.get(metric) if record.error is None else None
                if value is not None:
                    values[record.id].append(value)
    return {name: fmean(own) for name, own in values.items()}


def _comparison(
    metric: str, dataset: str, system: str, baseline: str, own: Mapping[str, float], theirs: Mapping[str, float]
) -> Comparison:
    differences = [own[name] - theirs[name] for name in sorted(own) if name in theirs]
    ends = interval(differences) if differences else None
    return {
        "metric": metric,
        "dataset": dataset,
        "system": system,
        "baseline": baseline,
        "difference": ends.mean if ends else None,
        "low": ends.low if ends else None,
        "high": ends.high if ends else None,
        "p": permutation_test(differences),
        "p_holm": None,
        "n": len(differences),
    }
