"""Two runs held against each other: what changed on the same examples, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.paired import holm, permutation_test
from ragdecode.evaluation.runs.pairing import Pair, Side
from ragdecode.evaluation.runs.record import Record

#: resamples of the ratio of speeds
_RESAMPLES = 2000


def compare(a: Side, b: Side, compared: Sequence[Pair], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Differences of the second run from the first.

    Args:
        a: The first run.
        b: The second run.
        compared: What belongs together, as `pairs` finds it.
        metrics: Metrics that are compared; all that both runs have if empty.

    Returns:
        Plain data: ``metrics`` (facts by name), ``comparisons`` (means, difference B - A with its interval, ``p`` and
        ``p_holm``, how many examples got ``better``, ``worse`` or are the ``same``), ``together`` (metrics of whole
        cells, unpaired), ``speed``, ``failures``, ``changed`` (examples by the size of their largest difference) and
        ``notes``. Every number is finite or null.

    Raises:
        InputError: The runs have no metric in common, or lack one that is asked for.
    """
    names, whole = _metrics(a, b, metrics)
    facts = {name: b.summary["metrics"][name] for name in names}
    comparisons = [
        _comparison(a, b, pair, name, up=facts[name]["higher_is_better"]) for name in names for pair in compared
    ]
    for one, corrected in zip(comparisons, holm([one["p"] for one in comparisons]), strict=True):
        one["p_holm"] = corrected
    return {
        "a": _told(a),
        "b": _told(b),
        "metrics": facts,
        "comparisons": comparisons,
        "together": _together(a, b, compared, whole),
        "speed": [_speed(a, b, pair) for pair in compared],
        "failures": [_failures(a, b, pair) for pair in compared],
        "changed": _changed(a, b, compared, names),
        "notes": _notes(a, b, compared),
    }


def values(records: Iterable[Record], metric: str) -> float | None:
    """A metric of one example, the mean over its seeds; None where no seed has it."""
    found = [value for one in records if one.error is None and (value := one.metrics.get(metric)) is not None]
    return fmean(found) if found else None


def _metrics(a: Side, b: Side, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Metrics of single answers and of whole cells that both runs have, or of them those wanted."""

    def both(scope: str) -> list[str]:
        own, theirs = (
            {name for name, one in side.summary["metrics"].items() if one["scope"] == scope} for side in (a, b)
        )
        return [name for name in b.summary["metrics"] if name in own & theirs]

    single, whole = both("example"), both("cell")
    known = [*single, *whole]
    for name in wanted:
        if name not in known:
            raise InputError(
                f"no metric {name!r} in both runs", hint=f"they have {', '.join(known)}" if known else "they have none"
            )
    if not known:
        raise InputError("the two runs have no metric in common", hint="measure both by the same")
    if wanted:
        single, whole = ([name for name in names if name in wanted] for names in (single, whole))
    return single, whole


def _comparison(a: Side, b: Side, pair: Pair, metric: str, *, up: bool) -> dict[str, Any]:
    own, theirs = a.examples(pair.a, pair.dataset), b.examples(pair.b, pair.dataset)
    found = [(values(own[name], metric), values(theirs[name], metric)) for name in sorted(pair.ids)]
    known = [(one, other) for one, other in found if one is not None and other is not None]
    differences = [other - one for one, other in known]
    ends = interval(differences) if differences else None
    gains = [one if up else -one for one in differences]
    return {
        "metric": metric,
        "dataset": pair.dataset,
        "system": pair.b,
        "baseline": pair.a,
        "a": fmean(one for one, _ in known) if known else None,
        "b": fmean(other for _, other in known) if known else None,
        "difference": ends.mean if ends else None,
        "low": ends.low if ends else None,
        "high": ends.high if ends else None,
        "p": permutation_test(differences),
        "p_holm": None,
        "n": len(known),
        "left_out": len(found) - len(known),
        "better": sum(one > 0 for one in gains),
        "worse": sum(one < 0 for one in gains),
        "same": sum(one == 0 for one in gains),
    }


def _together(a: Side, b: Side, compared: Sequence[Pair], names: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics of whole cells in both runs: no single answer has them, so they are not paired."""
    return [
        {
            "metric": name,
            "title": b.summary["metrics"][name]["title"],
            "dataset": pair.dataset,
            "system": pair.b,
            "baseline": pair.a,
            "a": _of_cells(a, pair.a, pair.dataset, name),
            "b": _of_cells(b, pair.b, pair.dataset, name),
        }
        for pair in compared
        for name in names
    ]


def _of_cells(side: Side, system: str, dataset: str, metric: str) -> dict[str, float | None]:
    found = [
        cell["metrics"][metric]
        for cell in side.summary["cells"]
        if (cell["system"], cell["dataset"]) == (system, dataset) and metric in cell["metrics"]
    ]
    if len(found) == 1:
        return {"mean": found[0]["mean"], "low": found[0]["low"], "high": found[0]["high"]}
    means = [one["mean"] for one in found if one["mean"] is not None]
    return {"mean": fmean(means) if means else None, "low": None, "high": None}


def _speed(a: Side, b: Side, pair: Pair) -> dict[str, Any]:
    """Tokens per second of either run over the examples that both answered, and their ratio B / A."""
    import numpy as np

    rows = []
    for name in sorted(pair.ids):
        one = _cost(a.examples(pair.a, pair.dataset)[name])
        other = _cost(b.examples(pair.b, pair.dataset)[name])
        if one and other:
            rows.append((*one, *other))
    table = np.asarray(rows, np.float64).reshape(-1, 4)

    def ratio(sums: Any) -> Any:
        return (sums[..., 2] / sums[..., 3]) / (sums[..., 0] / sums[..., 1])

    whole = table.sum(axis=0)
    found: dict[str, Any] = dict.fromkeys(("a", "b", "ratio", "low", "high"))
    if len(table) and (whole > 0).all():
        chance = np.random.default_rng(0)
        drawn = np.stack([table[chance.integers(len(table), size=len(table))].sum(axis=0) for _ in range(_RESAMPLES)])
        usable = drawn[(drawn > 0).all(axis=1)]
        low, high = np.quantile(ratio(usable), [0.025, 0.975])
        found = {
            "a": float(whole[0] / whole[1]),
            "b": float(whole[2] / whole[3]),
            "ratio": float(ratio(whole)),
            "low": float(low),
            "high": float(high),
        }
    return {"dataset": pair.dataset, "system": pair.b, "baseline": pair.a, **found, "n": len(table)}


def _cost(records: Sequence[Record]) -> tuple[float, float] | None:
    """New tokens and busy seconds of an example; None where no seed was answered."""
    stats = [one.stats for one in records if one.error is None and one.stats.get("seconds")]
    if not stats:
        return None
    seconds = sum(one["seconds"]["prefill"] + one["seconds"]["decode"] for one in stats)
    return float(sum(one["new_tokens"] for one in stats)), float(seconds)


def _failures(a: Side, b: Side, pair: Pair) -> dict[str, Any]:
    own, theirs = a.examples(pair.a, pair.dataset), b.examples(pair.b, pair.dataset)
    only_a = [name for name in pair.ids if _failed(own[name]) and not _failed(theirs[name])]
    only_b = [name for name in pair.ids if _failed(theirs[name]) and not _failed(own[name])]
    both = sum(_failed(own[name]) and _failed(theirs[name]) for name in pair.ids)
    return {
        "dataset": pair.dataset,
        "system": pair.b,
        "baseline": pair.a,
        "only_a": only_a,
        "only_b": only_b,
        "both": both,
        "n": len(pair.ids),
    }


def _failed(records: Sequence[Record]) -> bool:
    return any(one.error is not None for one in records)


def _changed(a: Side, b: Side, compared: Sequence[Pair], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Examples whose answer or whose metrics differ, those first where a share changed most."""
    found = []
    for pair in compared:
        own, theirs = a.examples(pair.a, pair.dataset), b.examples(pair.b, pair.dataset)
        for name in pair.ids:
            one, other = own[name], theirs[name]
            moved = {}
            for metric in metrics:
                before, after = values(one, metric), values(other, metric)
                if before != after:
                    moved[metric] = {"a": before, "b": after}
            if not moved and _said(one) == _said(other):
                continue
            found.append(
                {
                    "dataset": pair.dataset,
                    "id": name,
                    "system": pair.b,
                    "baseline": pair.a,
                    "question": one[0].question,
                    "references": list(one[0].references),
                    "a": _said(one)[0],
                    "b": _said(other)[0],
                    "metrics": moved,
                    "size": max((_size(change) for change in moved.values()), default=0.0),
                }
            )
    return sorted(found, key=lambda one: -one["size"])


def _size(change: Mapping[str, float | None]) -> float:
    before, after = change["a"], change["b"]
    if before is None or after is None:
        return 1.0
    return float(
        abs(after - before) / max(1.0, abs(before), abs(after))
    )  # counts, such as words, as parts of the larger


def _said(records: Sequence[Record]) -> list[str]:
    ordered = sorted(records, key=lambda one: one.cell.seed)
    return [f"failed: {one.error.message}" if one.error else one.answer or "" for one in ordered]


def _notes(a: Side, b: Side, compared: Sequence[Pair]) -> list[str]:
    notes = []
    for side, name, used in ((a, "first", {pair.a for pair in compared}), (b, "second", {pair.b for pair in compared})):
        if not side.summary["complete"]:
            notes.append(f"the {name} run is not whole")
        if left := [system for system in side.systems if system not in used]:
            notes.append(f"only in the {name} run: {', '.join(left)}")
        if alone := [one for one in side.datasets if one not in {pair.dataset for pair in compared}]:
            notes.append(f"only the {name} run has the data set {', '.join(alone)}")
    if other := sum(pair.other_questions for pair in compared):
        notes.append(f"{other} ids stand for another question in the other run and were left out")
    partly = []
    for pair in compared:
        own, theirs = len(a.examples(pair.a, pair.dataset)), len(b.examples(pair.b, pair.dataset))
        if own != theirs or len(pair.ids) < own:
            partly.append(f"{pair.name} on {pair.dataset}: {len(pair.ids)} of {own} and {theirs}")
    if partly:
        notes.append("examples that both runs have, of those of A and of B: " + "; ".join(partly))
    return notes


def _told(side: Side) -> dict[str, Any]:
    summary = side.summary
    return {
        "name": summary["name"],
        "title": side.title or summary["name"],
        "config": summary["config"],
        "complete": summary["complete"],
        "samples": summary["samples"],
        "failed": summary["failed"],
        "versions": summary["versions"],
    }
