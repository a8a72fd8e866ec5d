"""Tables and plots of `evidence_sweep.py`.

Usage: evidence_report.py WORK [--images FOLDER]

Reads ``WORK/recall.jsonl`` and ``WORK/answers.jsonl``; writes ``WORK/evidence.json`` and ``.md``, and each plot as PNG
and SVG. Intervals are 95 % bootstraps over questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from evidence_plots import plot_answers, plot_recall, plot_slices
from evidence_rows import CLOSED, GOLD, LABELS, METRICS, RETRIEVERS, Rows, complete, counts, graded, read, recall_points
from quality_tables import spread, table

from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.evidence import SLICES, GradedAnswer, Point, enough, points, step


def summary(recall: Rows, answers: Rows) -> dict[str, Any]:
    """All figures."""
    sets = ["all", *dict.fromkeys(row["set"] for row in recall)]
    own = {name: recall_points([row for row in recall if name in ("all", row["set"])]) for name in sets}
    return {
        "recall": {name: [_point(one) for one in found if one.slice == "all"] for name, found in own.items()},
        "hybrid_more": {name: _more([row for row in recall if name in ("all", row["set"])]) for name in sets},
        "questions": len({row["question"] for row in answers}),
        "prompt_tokens": {
            k: mean([row["prompt_tokens"] for row in answers if row["retriever"] in RETRIEVERS and row["k"] == k])
            for k in counts(answers)
        },
        "metrics": {metric: _quality(graded(answers, metric), counts(answers)) for metric in METRICS},
    }


def _more(recall: Rows) -> list[dict[str, Any]]:
    """Recall of hybrid less that of another retriever, question by question."""
    values = {(row["question"], row["retriever"], row["k"]): row["recall"] for row in recall}
    questions = dict.fromkeys(row["question"] for row in recall)
    return [
        {
            "other": other,
            "k": k,
            **asdict(interval([values[item, "hybrid", k] - values[item, other, k] for item in questions])),
        }
        for other in RETRIEVERS
        if other != "hybrid"
        for k in sorted({row["k"] for row in recall})
    ]


def _quality(scores: Sequence[GradedAnswer], tried: Sequence[int]) -> dict[str, Any]:
    names = [name for name in RETRIEVERS if any(one.retriever == name for one in scores)]
    pairs = list(combinations(tried, 2))
    steps = [step(scores, name, *pair) for name in names for pair in pairs]
    return {
        "points": [_point(one) for one in points(scores) if one.retriever in names and one.interval.n],
        **{name: asdict(interval([one.score for one in scores if one.retriever == name])) for name in (CLOSED, GOLD)},
        "steps": [
            {"retriever": one.retriever, "before": one.before, "after": one.after, **asdict(one.interval)}
            for one in steps
        ],
        "enough": {name: enough(scores, name) for name in names},
    }


def _point(point: Point) -> dict[str, Any]:
    return {"retriever": point.retriever, "k": point.k, "slice": point.slice, **asdict(point.interval)}


def markdown(found: Mapping[str, Any]) -> str:
    """Tables of recall, quality and steps."""
    rows = []
    for name, own in found["recall"].items():
        for retriever in RETRIEVERS:
            some = [one for one in own if one["retriever"] == retriever]
            label = f"{name} (n={some[0]['n']})" if retriever == RETRIEVERS[0] else ""
            rows.append([label, retriever, *(f"{one['mean']:.3f}" for one in some)])
    tried = sorted({one["k"] for one in found["recall"]["all"]})
    parts = ["Recall of gold passages", table(["questions", "retriever", *(f"k={k}" for k in tried)], rows)]
    rows = [
        [
            name if other == RETRIEVERS[0] else "",
            other,
            *(spread(one, sign=True) for one in own if one["other"] == other),
        ]
        for name, own in found["hybrid_more"].items()
        for other in dict.fromkeys(one["other"] for one in own)
    ]
    parts += ["Recall of hybrid less", table(["questions", "retriever", *(f"k={k}" for k in tried)], rows)]
    tokens = ", ".join(f"{k}: {count:.0f}" for k, count in found["prompt_tokens"].items())
    parts.append(f"Mean prompt tokens by k: {tokens}")
    for metric, values in found["metrics"].items():
        parts += _metric(metric, values, list(found["prompt_tokens"]))
    return "\n\n".join(parts) + "\n"


def _metric(metric: str, values: Mapping[str, Any], tried: Sequence[int]) -> list[str]:
    rows = []
    for name, most in values["enough"].items():
        for chosen in SLICES:
            own = {one["k"]: one for one in values["points"] if (one["retriever"], one["slice"]) == (name, chosen)}
            cells = [f"{spread(own[k])}, n={own[k]['n']}" if k in own else "" for k in tried]
            rows.append([name, chosen, *cells, str(most) if chosen == "all" else ""])
    head = ["retriever", "gold", *(f"k={k}" for k in tried), "enough"]
    levels = "; ".join(f"{name} {spread(values[name])}, n={values[name]['n']}" for name in (CLOSED, GOLD))
    steps = [
        [one["retriever"], f"{one['before']} to {one['after']}", spread(one, sign=True)] for one in values["steps"]
    ]
    return [f"{LABELS[metric]}: {levels}", table(head, rows), table(["retriever", "passages", "difference"], steps)]


def main() -> None:
    """Read, plot, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder that evidence_sweep.py wrote")
    parser.add_argument("--images", type=Path, help="folder for the plots; the work folder if left out")
    options = parser.parse_args()
    images = options.images or options.work
    images.mkdir(parents=True, exist_ok=True)
    recall, answers = read(options.work / "recall.jsonl"), complete(read(options.work / "answers.jsonl"))
    plot_recall(recall, images)
    plot_answers(answers, images)
    plot_slices(answers, images)
    found = summary(recall, answers)
    (options.work / "evidence.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (options.work / "evidence.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
