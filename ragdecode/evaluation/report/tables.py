"""A run as CSV, for spreadsheets and data frames: a line a cell, and a line a sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ragdecode.evaluation.runs.record import Record
from ragdecode.evaluation.runs.summary_shape import Summary

_CELL = ("cell", "system", "pipeline", "dataset", "seed", "samples", "answered", "failed")
_SPEED = (
    "tokens_per_second", "decode_tokens_per_second", "wall_tokens_per_second", "prompt_tokens", "new_tokens",
    "mean_accepted", "wall_seconds", "peak_memory_mb", "cached",
)  # fmt: skip
_STAGES = ("retrieve", "prefill", "decode")
#: first characters that make a spreadsheet take a text for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summary_csv(summary: Summary) -> str:
    """A line a cell: settings, each metric with the ends of its interval, how many samples count, speed and memory.

    Args:
        summary: Of a run.
    """
    cells = summary["cells"]
    paths = list(dict.fromkeys(path for cell in cells for path in cell["settings"]))
    metrics = list(summary["metrics"])
    head = [
        *_CELL,
        *paths,
        *(f"{name}{end}" for name in metrics for end in ("", "_low", "_high", "_n", "_missing")),
        *_SPEED,
        *(f"{stage}_seconds" for stage in _STAGES),
    ]
    rows: list[list[Any]] = []
    for cell in cells:
        speed = cell["speed"]
        own: Mapping[str, Mapping[str, Any]] = cell["metrics"]
        rows.append(
            [
                *(cell[name] for name in _CELL),  # type: ignore[literal-required]
                *(cell["settings"].get(path) for path in paths),
                *(own.get(name, {}).get(key) for name in metrics for key in ("mean", "low", "high", "n", "missing")),
                *(speed[name] for name in _SPEED),  # type: ignore[literal-required]
                *(speed["seconds"].get(stage) for stage in _STAGES),
            ]
        )
    return "".join(_lines(head, rows))


def samples_csv(records: Iterable[Record], metrics: Sequence[str]) -> Iterator[str]:
    """A line a sample, head first: place, question, answer, why there is none, metrics and cost.

    Args:
        records: The journal.
        metrics: Names of the columns of metrics.
    """
    head = [
        "system", "pipeline", "dataset", "seed", "id", "question", "references", "answer", "finish_reason", "error",
        "message", *metrics, "confidence", "lowest_faithfulness", "prompt_tokens", "new_tokens",
        *(f"{stage}_seconds" for stage in _STAGES), "cached",
    ]  # fmt: skip
    return _lines(head, (_sample(record, metrics) for record in records))


def _sample(record: Record, metrics: Sequence[str]) -> list[Any]:
    stats, seconds = record.stats, record.stats.get("seconds") or {}
    scored = [one["faithfulness"] for one in record.sentences if one.get("faithfulness") is not None]
    return [
        record.cell.system,
        record.cell.pipeline,
        record.cell.dataset,
        record.cell.seed,
        record.id,
        record.question,
        " | ".join(record.references),
        record.answer,
        record.finish_reason,
        record.error.kind if record.error else None,
        record.error.message if record.error else None,
        *(record.metrics.get(name) for name in metrics),
        stats.get("confidence"),
        min(scored, default=None),
        stats.get("prompt_tokens"),
        stats.get("new_tokens"),
        *(seconds.get(stage) for stage in _STAGES),
        stats.get("cached"),
    ]


def _lines(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield _line(head)
    for row in rows:
        yield _line(row)


def _line(row: Sequence[Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([_plain(value) for value in row])
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """A value as it may stand in a spreadsheet: a text that would be a formula gets an apostrophe before it."""
    if isinstance(value, Mapping | list | tuple):
        value = str(value)
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value
