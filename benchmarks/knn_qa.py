"""kNN-LM over the passages of each question: answers and speed, alone and with CAD, drafted and not.

Usage: knn_qa.py --data FOLDER --work FOLDER [--limit 80] [--sets squad nq] [--rows plain knn]

Quality is that of greedy answers; all rows of an example are decoded side by side. Speed is measured on answers of a
set length, one request at a time, with drafts and without, the rows in turns: let nothing else run then. A run that
was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import rules_run
from evidence_rows import read
from quality_tables import table
from rules_rows import Row
from rules_run import Bench, alone, run_task
from rules_sets import QA, Item, Task, ordered, squad

from ragdecode import Pipeline
from ragdecode.evaluation.bootstrap import interval
from ragdecode.models.tokenizer import Tokenizer

#: new tokens of a timed answer, and the drafter
TOKENS, DRAFT = 32, ["prompt_lookup"]
#: passages that are shown of a question of NQ, the gold one among them, and the longest, in tokens
SHOWN, LONGEST = 3, 260


def nq(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
    """Questions of NQ with their gold passage and those of two other questions, at a random place."""
    rows = read(data / "nq_gold" / "data.jsonl")
    fits = [row for row in rows if len(tokenizer.encode(row["contexts"][0]["text"], special=False)) <= LONGEST]
    made = []
    for row in fits:
        draw = random.Random(row["id"])  # noqa: S311
        others = [one for one in draw.sample(fits, SHOWN) if one is not row][: SHOWN - 1]
        shown = [one["contexts"][0]["text"] for one in (row, *others)]
        draw.shuffle(shown)
        made.append(Item(row["id"], row["question"].strip(), tuple(shown), tuple(row["golden_answers"])))
    return ordered(made, "nq_gold")


def task(name: str, title: str, items: Any) -> Task:
    """A set of short answers."""
    return Task(name, title, "brief", "brief_opposite", items, 80, QA, tokens=16, stop=("\n",))


TASKS = {
    "squad": task("squad", "SQuAD: the gold passage and two of its article", squad(True, 2)),
    "nq": task("nq", "NQ: the gold passage and two of other questions", nq),
}
KNN, CAD = {"knn_lm": {"weight": 0.25}}, {"cad": {"alpha": 0.5}}
ROWS = {
    "plain": Row([]),
    "cad 0.5": Row([CAD], evidence=True),
    "knn 0.25": Row([KNN], evidence=True),
    "knn 0.5": Row([{"knn_lm": {"weight": 0.5}}], evidence=True),
    "knn by entropy": Row([{"knn_lm": {"by": "entropy", "weight": 0.5}}], evidence=True),
    "knn, read: text": Row([{"knn_lm": {"weight": 0.25, "read": "text"}}], evidence=True),
    "cad, then knn": Row([CAD, KNN], evidence=True),
}


def time_rows(benches: Mapping[str, Bench], own: Task, items: Sequence[Item], file: Path) -> None:
    """Append seconds a token, of every row drafted and not, that the file lacks."""
    known = {(row["item"], row["row"], row["draft"]) for row in (read(file) if file.is_file() else [])}
    with file.open("a", encoding="utf-8") as stream:
        for item in items:
            for name in ROWS:
                for way, bench in benches.items():
                    if (item.id, name, way) in known:
                        continue
                    request = alone(bench.request(own, item, name), TOKENS)
                    bench.answer([request])  # reads the prompts, and warms up
                    result = bench.answer([request])[request.id]
                    stats = result.stats
                    told = {
                        "item": item.id, "row": name, "draft": way, "tokens": list(result.tokens),
                        "seconds": stats.decode_seconds / (stats.new_tokens - 1),
                        "passes": stats.forward_passes / stats.new_tokens,
                    }  # fmt: skip
                    stream.write(json.dumps(told) + "\n")
                    stream.flush()
            print(f"\rspeed {item.id}", end="", file=sys.stderr)
    print(file=sys.stderr)


def quality(own: Task, rows: Sequence[Mapping[str, Any]]) -> str:
    """EM, contains and F1 of each row in percent, and paired differences to plain with their intervals."""
    by: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["row"], {})[row["item"]] = row
    common = [item for item in by["plain"] if all(item in one for one in by.values())]
    lines = []
    for name in [name for name in ROWS if name in by]:
        line = [f"`{name}`"]
        for metric in own.metrics:
            found = interval([100 * by[name][item]["grades"][metric] for item in common])
            line.append(f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})")
        for metric in ("exact", "f1"):
            pairs = [100 * (by[name][item]["grades"][metric] - by["plain"][item]["grades"][metric]) for item in common]
            found = interval(pairs)
            star = " *" if found.low > 0 or found.high < 0 else ""
            line.append("" if name == "plain" else f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}){star}")
        lines.append(line)
    head = ["rule", *own.metrics.values(), "EM, less plain", "F1, less plain"]
    return f"**{own.title}** ({len(common)} questions).\n\n{table(head, lines)}"


def speeds(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tokens a second of each row, drafted and not; and whether drafts changed a token."""
    lines, changed = [], 0
    for name in ROWS:
        own = {way: {row["item"]: row for row in rows if (row["row"], row["draft"]) == (name, way)} for way in _WAYS}
        common = [item for item in own["undrafted"] if item in own["drafted"]]
        if not common:
            continue
        changed += sum(own["undrafted"][item]["tokens"] != own["drafted"][item]["tokens"] for item in common)
        line = [f"`{name}`"]
        line += [f"{median(1 / own[way][item]['seconds'] for item in common):.1f}" for way in _WAYS]
        line.append(f"{median(own['drafted'][item]['passes'] for item in common):.2f}")
        lines.append(line)
    head = ["rule", "tokens/s, undrafted", "tokens/s, drafted", "passes a token, drafted"]
    count = len({row["item"] for row in rows})
    title = f"**Speed** ({count} questions, {TOKENS} tokens each; answers that drafts changed: {changed})."
    return f"{title}\n\n{table(head, lines)}"


_WAYS = ("undrafted", "drafted")


def main() -> None:
    """Measure, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=[*TASKS, "speed"], choices=[*TASKS, "speed"])
    parser.add_argument("--limit", type=int, default=80)
    parser.add_argument("--timed", type=int, default=5, help="questions of each set that are timed")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    parts = []
    with Pipeline.load(rules_run.PIPELINE) as first:
        bench = Bench(first, ROWS, {})
        for name in [name for name in TASKS if name in options.sets]:
            own, file = TASKS[name], options.work / f"{name}.jsonl"
            items = own.items(options.data, first.tokenizer, options.work)[: options.limit]
            run_task(bench, own, items, [*ROWS], file, 3)
            parts.append(quality(own, read(file)))
        if "speed" in options.sets:
            drafted = Bench(first, ROWS, {}, [f"decode.draft={json.dumps(DRAFT)}"])
            file = options.work / "speed.jsonl"
            for own in TASKS.values():
                items = own.items(options.data, first.tokenizer, options.work)[-options.timed :]
                time_rows({"undrafted": bench, "drafted": drafted}, own, items, file)
            parts.append(speeds(read(file)))
    text = "\n\n".join(parts)
    (options.work / "tables.md").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
