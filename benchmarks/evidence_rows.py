"""What `evidence_sweep.py` wrote, graded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ragdecode.evaluation.evidence import GradedAnswer, Point, points
from ragdecode.evaluation.metrics.answers import contains_answer, exact_match, token_f1

METRICS = {"contains": contains_answer, "f1": token_f1, "exact": exact_match}
LABELS = {"contains": "answers that contain a golden answer (%)", "f1": "token F1 (%)", "exact": "exact matches (%)"}
CLOSED, GOLD = "closed book", "gold only"
RETRIEVERS = ("bm25", "dense", "hybrid")

Rows = list[dict[str, Any]]


def read(file: Path) -> Rows:
    """Lines of JSON; a last line that was broken off is left out."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def complete(rows: Rows) -> Rows:
    """The rows of questions that a retriever has answered with every number of passages it has answered any with.

    So all points of a line are over the same questions, even of a run that was broken off.
    """
    answered: dict[str, dict[str, set[int]]] = {name: {} for name in RETRIEVERS}
    for row in rows:
        if row["retriever"] in answered:
            answered[row["retriever"]].setdefault(row["question"], set()).add(row["k"])
    kept = {
        name: {question for question, found in of.items() if found == set().union(*of.values())}
        for name, of in answered.items()
    }
    anywhere = set().union(*kept.values())
    return [row for row in rows if row["question"] in kept.get(row["retriever"], anywhere)]


def graded(rows: Rows, metric: str) -> list[GradedAnswer]:
    """Answers with their scores."""
    score = METRICS[metric]
    return [
        GradedAnswer(row["question"], row["retriever"], row["k"], row["gold_found"] == row["gold"], grade)
        for row in rows
        for grade in [score(row["answer"], row["golden_answers"])]
    ]


def recall_points(rows: Rows) -> list[Point]:
    """Mean recall of gold passages by retriever and k."""
    return points(GradedAnswer(row["question"], row["retriever"], row["k"], True, row["recall"]) for row in rows)


def counts(rows: Rows) -> list[int]:
    """Numbers of passages that were tried."""
    return sorted({row["k"] for row in rows if row["retriever"] in RETRIEVERS})
