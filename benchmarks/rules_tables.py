"""What `rules.py` wrote, in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from evidence_rows import read
from quality_tables import table
from rules_alpha import SHOWN
from rules_rows import ROWS
from rules_sets import TASKS, Task
from rules_speed import speeds

from ragdecode.evaluation.bootstrap import Interval, interval
from ragdecode.evaluation.metrics.detection import auroc

#: metrics that are no shares
_PLAIN_NUMBERS = ("words",)
Record = Mapping[str, Any]


def tables(work: Path) -> str:
    """Markdown of everything that a work folder holds."""
    parts = []
    means: dict[str, dict[str, str]] = {}
    for task in TASKS.values():
        file = work / f"{task.name}.jsonl"
        cells = complete(read(file)) if file.is_file() else {}
        if cells:
            parts.append(quality(task, cells))
            means[task.name] = {name: summary(task, own) for name, own in cells.items()}
    timed = speeds(read(work / "speed.jsonl")) if (work / "speed.jsonl").is_file() else {}
    if means or timed:
        parts.insert(0, overview(means, timed))
    if (work / "alpha.jsonl").is_file():
        parts.append(weights(read(work / "alpha.jsonl")))
    return "\n\n".join(parts) + "\n" if parts else "Nothing is measured yet.\n"


def complete(rows: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by row, of the examples that every row has, in the same order.

    A row that lacks most of what plain has (one that was added later, say) is left out rather than the examples.
    """
    by: dict[str, dict[str, Record]] = {}
    for row in rows:
        by.setdefault(row["row"], {})[row["item"]] = row
    most = max((len(own) for own in by.values()), default=0)
    kept = {name: own for name, own in by.items() if 2 * len(own) >= most}
    common = [item for item in next(iter(kept.values()), {}) if all(item in own for own in kept.values())]
    names = [name for name in ROWS if name in kept]
    return {name: [kept[name][item] for item in common] for name in names} if common else {}


def quality(task: Task, cells: Mapping[str, Sequence[Record]]) -> str:
    """Each metric with its interval, and the first one's difference to the row that it is compared with."""
    count = len(next(iter(cells.values())))
    titles = [f"{title}{'' if name in _PLAIN_NUMBERS else ', %'}" for name, title in task.metrics.items()]
    lines = []
    for name, own in cells.items():
        line = [f"`{name}`", str(len(own))]
        line += [spread(interval(values(own, metric))) for metric in task.metrics]
        for metric in list(task.metrics)[:2]:
            line.append(difference(name, own, cells, metric))
        lines.append(line)
    head = ["rule", "n", *titles]
    head += [f"{task.metrics[metric]}, less plain" for metric in list(task.metrics)[:2]]
    note = " Drawn answers are compared with those of `plain, T=1`." if "plain, T=1" in cells else ""
    tokens = [row["prompt_tokens"] for row in cells[next(iter(cells))]]
    title = f"**{task.title}** ({count} examples, median prompt {median(tokens):.0f} tokens)."
    return f"{title}{note}\n\n{table(head, lines)}"


def difference(name: str, own: Sequence[Record], cells: Mapping[str, Sequence[Record]], metric: str) -> str:
    """Paired difference of a row to its base; a star where the interval leaves 0 out."""
    base = ROWS[name].against if ROWS[name].against in cells else "plain"
    if name == base or base not in cells or (ROWS[name].sampled and not ROWS[name].rule):
        return ""
    pairs = zip(values(own, metric), values(cells[base], metric), strict=True)
    found = interval([mine - theirs for mine, theirs in pairs])
    star = " *" if found.low > 0 or found.high < 0 else ""
    return spread(found, sign=True) + star


def values(rows: Sequence[Record], metric: str) -> list[float]:
    """A metric of every record, in percent where it is a share."""
    scale = 1 if metric in _PLAIN_NUMBERS else 100
    return [scale * row["grades"][metric] for row in rows]


def spread(found: Interval, sign: bool = False) -> str:
    """A mean with its interval."""
    form = "+.1f" if sign else ".1f"
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


#: the metric of the overview
_CHOSEN = {"conflict": "contains", "gold": "contains", "noisy": "contains", "truthfulqa": "mc2"}


def summary(task: Task, own: Sequence[Record]) -> str:
    """A cell of the overview: the mean, and of how many."""
    if "rouge_l" in task.metrics:
        return f"{fmean(values(own, 'k_precision')):.1f} / {fmean(values(own, 'rouge_l')):.1f} ({len(own)})"
    if task.name == "truthfulqa":
        return " / ".join(f"{fmean(values(own, metric)):.1f}" for metric in task.metrics) + f" ({len(own)})"
    return f"{fmean(values(own, _CHOSEN.get(task.name, next(iter(task.metrics))))):.1f} ({len(own)})"


def overview(means: Mapping[str, Mapping[str, str]], timed: Mapping[str, Mapping[str, float]]) -> str:
    """One line a row: a figure of every set, and the cost."""
    head = ["rule", *(_label(TASKS[name]) for name in means), "tokens/s to plain", "rows a pass"]
    lines = []
    for name in ROWS:
        if not any(name in own for own in means.values()) and name not in timed:
            continue
        cost = timed.get(name)
        line = [f"`{name}`", *(own.get(name, "") for own in means.values())]
        line += [f"{cost['speed']:.2f}", f"{cost['rows']:.1f}"] if cost else ["", ""]
        lines.append(line)
    count = next(iter(timed.values()))["n"] if timed else 0
    note = f" Speeds: medians over {count:.0f} examples, one request at a time, nothing drafted." if timed else ""
    return f"Means in %, with the number of examples.{note}\n\n{table(head, lines)}"


def _label(task: Task) -> str:
    if "rouge_l" in task.metrics:
        return f"{task.name}: K-Precision / ROUGE-L"
    if task.name == "truthfulqa":
        return "truthfulqa: MC1 / MC2 / MC3"
    return f"{task.name}: {task.metrics[_CHOSEN.get(task.name, next(iter(task.metrics)))]}"


def weights(rows: Sequence[Record]) -> str:
    """The weight of acd by what is shown, and how well the first one tells the gold passage from others."""
    by: dict[str, dict[str, Record]] = {}
    for row in rows:
        by.setdefault(row["shown"], {})[row["item"]] = row
    common = [item for item in by.get("gold", {}) if all(item in own for own in by.values())]
    if not common:
        return ""
    gold = [by["gold"][item]["first"] for item in common]
    lines = []
    for name, title in SHOWN.items():
        if name not in by:
            continue
        own = [by[name][item] for item in common]
        first = [row["first"] for row in own]
        less = interval([mine - other for mine, other in zip(first, gold, strict=True)])
        lines.append(
            [
                title,
                str(len(own)),
                _fine(interval(first)),
                _fine(interval([row["mean"] for row in own])),
                "" if name == "gold" else _fine(less, sign=True),
                "" if name == "gold" else f"{auroc(gold, first):.3f}",
            ]
        )
    head = ["shown", "n", "alpha, first token", "alpha, mean of the answer", "first, less gold", "AUROC of gold"]
    return f"**The weight of `acd`** by what is shown (SQuAD).\n\n{table(head, lines)}"


def _fine(found: Interval, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"
