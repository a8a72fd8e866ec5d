"""What a token costs under each row, one request at a time, the rows in turns."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from evidence_rows import read
from rules_run import Bench, alone
from rules_sets import Item, Task

#: new tokens of a timed answer; it does not end before
TOKENS = 24


def time_rows(bench: Bench, task: Task, items: Sequence[Item], names: Sequence[str], file: Path) -> None:
    """Append the seconds a token of every row and example that the file lacks.

    The prompts of an example are read beforehand, so that every row finds them; the first token is not counted. What
    slows the machine down for a while slows all rows of an example down.
    """
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["item"], row["row"]) for row in rows}
    with file.open("a", encoding="utf-8") as stream:
        for number, item in enumerate(items, start=1):
            missing = [name for name in names if (item.id, name) not in known]
            requests = {name: alone(bench.request(task, item, name), TOKENS) for name in missing}
            if requests:
                bench.answer([*requests.values()])  # reads the prompts, and warms every row up
            for name, request in requests.items():
                stats = bench.answer([request])[request.id].stats
                row: dict[str, Any] = {
                    "item": item.id,
                    "row": name,
                    "seconds": stats.decode_seconds / (stats.new_tokens - 1),
                    "rows_a_pass": stats.forward_rows / stats.forward_passes,
                    "passes_a_token": stats.forward_passes / stats.new_tokens,
                }
                stream.write(json.dumps(row) + "\n")
                stream.flush()
            print(f"\rspeed {number}/{len(items)}", end="", file=sys.stderr)
    print(file=sys.stderr)


def speeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By row: median milliseconds a token, median ratio of its speed to that of plain on the same example, rows a pass.

    Examples without a plain run do not count.
    """
    by: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["row"], {})[row["item"]] = row
    plain = by.get("plain", {})
    found = {}
    for name, own in by.items():
        pairs = [(row, plain[item]) for item, row in own.items() if item in plain]
        if pairs:
            found[name] = {
                "milliseconds": median(1000 * row["seconds"] for row, _ in pairs),
                "speed": median(base["seconds"] / row["seconds"] for row, base in pairs),
                "rows": median(row["rows_a_pass"] for row, _ in pairs),
                "passes": median(row["passes_a_token"] for row, _ in pairs),
                "n": float(len(pairs)),
            }
    return found
