"""Decoding rules compared on real data: conflicts, clean and noisy evidence, summaries, truthfulness, and their cost.

Usage: rules.py --data FOLDER --work FOLDER [--sets conflict gold] [--rows plain acd] [--limit 50] [--tables]

All rows of an example are decoded side by side in one engine, over prompts that are read once; nothing is drafted,
which would change no token. Sets that compare given answers score them under each rule by teacher forcing. Rows are
appended to ``WORK/SET.jsonl`` as they come; a run that was broken off goes on there, and an interrupted one still
writes the tables, ``WORK/tables.md``. Speeds are measured by themselves (``--sets speed``), one request at a time and
the rows in turns: let nothing else run then. ``alpha`` watches the weight of the rule acd.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rules_alpha import watch
from rules_known import screen
from rules_rows import ROWS
from rules_run import PIPELINE, Bench, measure, run_task
from rules_sets import TASKS, TRIED, Item, Task, with_noise
from rules_speed import time_rows
from rules_tables import tables

from ragdecode import Pipeline

#: what may be asked for, in order: timing last, so that it can be left out where others use the machine
SETS = (*TASKS, "alpha", "speed")
#: examples of the sets that are no task
OTHERS = {"alpha": 200, "speed": 8}


def examples(task: Task, items: Sequence[Item], limit: int | None) -> tuple[list[Item], list[Item]]:
    """What is graded, and what is kept for trying."""
    tried = min(TRIED, len(items) // 10)
    room = len(items) - tried
    return list(items[: min(limit or task.examples, room)]), list(items[room:])


def estimate(bench: Bench, task: Task, graded: Sequence[Item], tried: Sequence[Item], names: Sequence[str]) -> float:
    """Seconds that a set takes, by those of one example that is not graded; a first run of it is not counted."""
    item = (tried or graded)[-1]
    cells = [(item, name) for name in names]
    list(measure(bench, task, cells[:1]))
    started = time.perf_counter()
    list(measure(bench, task, cells))
    bench.first.forget_prefixes()
    return (time.perf_counter() - started) * len(graded)


def main() -> None:
    """Measure, then write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for rows and tables; kept")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="which sets")
    usual = [name for name, row in ROWS.items() if not row.extra]
    parser.add_argument("--rows", nargs="+", default=usual, choices=[*ROWS], help="which rules; plain always")
    parser.add_argument("--limit", type=int, help="examples of each set, in the place of its own number")
    parser.add_argument("--heads", default="smollm2-135m", help="retrieval heads for decore: a name or a file")
    parser.add_argument("--detector", default="smollm2-135m", help="detector for dagcd: a name or a file")
    parser.add_argument("--group", type=int, default=3, help="examples that are decoded together")
    parser.add_argument("--set", action="append", default=[], help="a setting of the engine: engine.PATH=VALUE")
    parser.add_argument("--tried", action="store_true", help="only the examples that are kept for trying; elsewhere")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is there, and measure nothing")
    options = parser.parse_args()
    if not options.tables:
        if options.data is None:
            parser.error("--data is needed to measure")
        options.work.mkdir(parents=True, exist_ok=True)
        try:
            run(options)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from here", file=sys.stderr)
    text = tables(options.work)
    (options.work / "tables.md").write_text(text, "utf-8")
    print(text)


def run(options: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    rows = {name: row for name, row in ROWS.items() if name in ("plain", *options.rows)}
    names = {"heads": options.heads, "detector": options.detector}
    with Pipeline.load(PIPELINE, options.set) as first:
        bench = Bench(first, rows, names, options.set)
        plans = []
        total = 0.0
        for name in [name for name in SETS if name in options.sets and name in TASKS]:
            task = TASKS[name]
            if name == "distractors":
                wanted = (options.limit or task.examples) + TRIED
                candidates = with_noise(options.data, first.tokenizer)
                screen(bench, task, candidates, wanted, options.work / "known.jsonl")
            graded, tried = examples(task, task.items(options.data, first.tokenizer, options.work), options.limit)
            if options.tried:
                graded = tried[: options.limit]
            usable, out = bench.usable(task, graded)
            for row, why in out.items():
                print(f"{name}: without {row}: {why}", file=sys.stderr)
            seconds = estimate(bench, task, graded, tried, usable) if graded else 0.0
            total += seconds
            print(f"{name}: {len(graded)} examples, {len(usable)} rows, about {seconds / 60:.1f} min", file=sys.stderr)
            plans.append((task, graded, usable))
        print(f"in all about {total / 60:.0f} min", file=sys.stderr)
        for task, graded, usable in plans:
            run_task(bench, task, graded, usable, options.work / f"{task.name}.jsonl", options.group)
        if "alpha" in options.sets:
            count = options.limit or OTHERS["alpha"]
            watch(bench, options.data, count, options.work / "alpha.jsonl", options.group)
        if "speed" in options.sets:
            task = TASKS["noisy"]
            items = task.items(options.data, first.tokenizer, options.work)[: options.limit or OTHERS["speed"]]
            usable, _ = bench.usable(task, items)
            time_rows(bench, task, items, usable, options.work / "speed.jsonl")


if __name__ == "__main__":
    main()
