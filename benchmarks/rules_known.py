"""Which questions the model answers without passages: asked once, plain, and kept for the set `distractors`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evidence_rows import read
from rules_run import Bench
from rules_sets import Item, Task

from ragdecode.evaluation.metrics.answers import contains_answer

#: questions asked together
_BATCH = 96


def screen(bench: Bench, task: Task, candidates: Sequence[Item], wanted: int, file: Path) -> int:
    """Ask candidates in their order until so many are known; what was asked before is not asked again.

    Returns:
        How many are known.
    """
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")  # none broken off
    asked = {row["item"] for row in rows}
    known = sum(row["known"] for row in rows)
    left = [item for item in candidates if item.id not in asked]
    with file.open("a", encoding="utf-8") as stream:
        for at in range(0, len(left), _BATCH):
            if known >= wanted:
                break
            some = left[at : at + _BATCH]
            results = bench.answer([bench.request(task, replace(item, passages=()), "plain") for item in some])
            for item in some:
                text = results[f"{item.id}/plain"].text
                right = bool(contains_answer(text, item.right))
                known += right
                record = {"item": item.id, "question": item.question, "text": text, "known": right}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.flush()
            print(f"\rknown {known}/{wanted} of {len(asked) + at + len(some)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return known
