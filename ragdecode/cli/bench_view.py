"""What ``bench`` prints for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = {
    "tokens/s": "tokens_per_second",
    "decode tokens/s": "decode_tokens_per_second",
    "first token s": "first_token_seconds",
    "steps": "steps",
    "tokens/pass": "mean_accepted",
    "nodes/pass": "nodes_per_step",
    "peak MB": "peak_memory_mb",
}
_WIDTH = 150


def show(found: Mapping[str, Any]) -> None:
    """Print tables of speeds, ratios and acceptance, and the machine."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    run, machine = found["run"], found["machine"]
    console.print(f"{run['headline']}   {run['prompts']} prompts, median of {run['repeats']}", markup=False)
    for size, one in found["batches"].items():
        if len(found["batches"]) > 1 or size != "1":
            console.print("one prompt at a time" if size == "1" else f"{size} prompts together")
        _speeds(console, one)
    notes = [f"{name}: {row['note']}" for name, row in found["contenders"].items() if row["note"]]
    for note in (*notes, *run["notes"]):
        console.print(f"note: {note}", markup=False)
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['dtype']} on "
        f"{machine['device']}, torch {machine['torch']}, transformers {machine['transformers']}, load average "
        f"{machine['load_average']}",
        markup=False,
    )


def _speeds(console: Console, found: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("contender", *_COLUMNS, "same/ties/different")
    for name, row in found["contenders"].items():
        equal = row["tokens_equal"]
        equals = "/".join(str(equal[key]) for key in ("same", "ties", "different")) if equal else "-"
        table.add_row(name, *(_number(row[key]) for key in _COLUMNS.values()), equals)
    console.print(table)
    ratios = Table("ratio", "tokens/s", "95 %", "decode tokens/s", "95 %")
    for name, row in found["ratios"].items():
        cells = []
        for key in ("tokens_per_second", "decode_tokens_per_second"):
            cells += [_number(row[key]), _interval(row[f"{key}_interval"])]
        ratios.add_row(name, *cells)
    if found["ratios"]:
        console.print(ratios)
    sources = Table("contender", "drafted by", "proposed", "accepted", "share")
    for name, row in found["contenders"].items():
        for source, counts in row["sources"].items():
            share = "-" if counts["share"] is None else f"{counts['share']:.1%}"
            sources.add_row(name, source, str(counts["proposed"]), str(counts["accepted"]), share)
    if sources.row_count:
        console.print(sources)


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}" if value < 100 else f"{value:.0f}"
