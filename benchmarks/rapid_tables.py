"""What `rapid.py` wrote, graded and in tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ragdecode.evaluation.bootstrap import Interval, interval
from ragdecode.evaluation.metrics.answers import contains_answer, exact_match, token_f1

Row = dict[str, Any]


def tables(rows: Sequence[Row]) -> str:
    """Markdown: quality by set and mode, then speed by mode and drafts, over questions that have every answer."""
    cells = sorted({(row["mode"], row["drafts"]) for row in rows}, key=lambda cell: (_rank(cell[0]), cell[1] != "none"))
    by = {(row["question"], row["mode"], row["drafts"]): row for row in rows}
    names = dict.fromkeys(row["question"] for row in rows)
    whole = [name for name in names if all((name, *cell) in by for cell in cells)]
    if not whole:
        return "No question has every answer yet.\n"
    return f"{len(whole)} questions.\n\n{_quality(by, cells, whole)}\n\n{_speed(by, cells, whole)}\n"


By = dict[tuple[str, str, str], Row]


def _quality(by: By, cells: Sequence[tuple[str, str]], whole: Sequence[str]) -> str:
    """Answers without drafts: F1 with its interval, paired difference to the whole document alone, containment."""
    lines = [
        "| set | n | mode | F1 % (95 %) | minus long (95 %) | contains % | exact % |",
        "|---|---|---|---|---|---|---|",
    ]
    sets = {name: by[name, *cells[0]]["set"] for name in whole}
    for group in ["all", *dict.fromkeys(sets.values())]:
        own = [name for name in whole if group in ("all", sets[name])]
        long = [by[name, "long", "none"] for name in own]
        for mode in dict.fromkeys(mode for mode, _ in cells):
            mine = [by[name, mode, "none"] for name in own]
            f1 = [_grade(token_f1, row) for row in mine]
            more = [score - _grade(token_f1, row) for score, row in zip(f1, long, strict=True)]
            contains, exact = (
                statistics.fmean(_grade(how, row) for row in mine) for how in (contains_answer, exact_match)
            )
            lines.append(
                f"| {group} | {len(own)} | {mode} | {_range(interval(f1))} | {_range(interval(more))} | "
                f"{contains:.1f} | {exact:.1f} |"
            )
    return "\n".join(lines)


def _speed(by: By, cells: Sequence[tuple[str, str]], whole: Sequence[str]) -> str:
    """Decoding speed, paired with that of the whole document alone without drafts, and what became of drafts."""
    lines = [
        "| mode | drafts | tokens/s | of long, none (median) | tokens a step | passes a token | same tokens % |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, drafts in cells:
        mine = [by[name, mode, drafts] for name in whole]
        # an answer of one token has no decoding time
        timed = [row for row in mine if row["new_tokens"] > 1 and by[row["question"], "long", "none"]["new_tokens"] > 1]
        rates = [_rate(row) for row in timed]
        ratios = [_rate(row) / _rate(by[row["question"], "long", "none"]) for row in timed]
        same = [row["tokens"] == by[row["question"], mode, "none"]["tokens"] for row in mine]
        new = sum(row["new_tokens"] for row in mine)
        lines.append(
            f"| {mode} | {drafts} | {_median(rates):.1f} | {_median(ratios):.2f} | "
            f"{new / max(1, sum(row['steps'] for row in mine)):.2f} | "
            f"{sum(row['passes'] for row in mine) / max(1, new):.2f} | {100 * statistics.fmean(same):.0f} |"
        )
    reading = [by[name, *cells[0]] for name in whole]
    long, rag = (_median([row[f"read_{view}_seconds"] for row in reading]) for view in ("with_context", "rag"))
    lines += ["", f"Reading, median: {long:.1f} s the whole document, {rag:.1f} s its best passages."]
    return "\n".join(lines)


def _grade(how: Any, row: Row) -> float:
    """A score in percent."""
    return 100 * float(how(row["answer"], row["golden_answers"]))


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def _rank(mode: str) -> tuple[int, float]:
    return (("long", "rag").index(mode), 0.0) if mode in ("long", "rag") else (2, float(mode.split()[1]))


def _rate(row: Row) -> float:
    """Tokens after the first by the seconds after it."""
    return (row["new_tokens"] - 1) / max(row["decode_seconds"], 1e-9)


def _range(found: Interval) -> str:
    return f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"
