"""A finished or unfinished evaluation run as it lies on disk: what reports and comparisons read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.runs.record import Record
from ragdecode.evaluation.runs.summary_shape import FORMAT, Summary

SUMMARY, PREDICTIONS, CONFIG = "summary.json", "predictions.jsonl", "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """A run.

    Attributes:
        path: Its folder.
        summary: Content of ``summary.json``.
        config: Text of ``config.yaml``; empty where there is none.
        unread: Lines of ``predictions.jsonl`` that are no records: a cut last line, for example.
    """

    path: Path
    summary: Summary
    config: str = ""
    unread: list[str] = field(default_factory=list)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Open a run.

        Raises:
            InputError: It is no folder of a run, or was written by a newer version.
        """
        if not path.is_dir():
            raise InputError(
                f"{path} is not the folder of a run",
                hint=f"give a folder with {PREDICTIONS} and {SUMMARY}, as ragdecode eval --out writes it",
            )
        if not (path / SUMMARY).is_file():
            begun = (path / PREDICTIONS).is_file()
            raise InputError(
                f"{path} has no {SUMMARY}" + (": the run has not come to its summary" if begun else ""),
                hint="run ragdecode eval again with this folder; it resumes" if begun else "is it the right folder?",
            )
        try:
            summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path / SUMMARY}: {error}", hint="run ragdecode eval again") from error
        _check(summary, path / SUMMARY)
        try:
            config = (path / CONFIG).read_text(encoding="utf-8")
        except (OSError, ValueError):
            config = ""
        return RunFolder(path, summary, config)

    def records(self) -> Iterator[Record]:
        """The journal's records in its order, the first of each sample; what is no record goes to ``unread``."""
        self.unread.clear()
        seen: set[tuple[str, str]] = set()
        try:
            stream = (self.path / PREDICTIONS).open("rb")
        except OSError:
            self.unread.append(f"{PREDICTIONS} cannot be read")
            return
        with stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    record = Record.from_json(json.loads(line.decode("utf-8")))
                    place = (record.cell.key, record.id)
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.unread.append(f"{PREDICTIONS}, line {number}")
                    continue
                if place not in seen:
                    seen.add(place)
                    yield record


def _check(summary: Any, path: Path) -> None:
    """Refuse what is no summary.

    Raises:
        InputError: It lacks what every summary has, or its format is newer.
    """
    if not isinstance(summary, dict) or not {"format", "cells", "systems", "metrics"} <= set(summary):
        raise InputError(f"{path} is not the summary of an evaluation run", hint="is it the right folder?")
    if summary["format"] != FORMAT:
        raise InputError(
            f"{path} has format {summary['format']}; this version of ragdecode reads format {FORMAT}",
            hint="run ragdecode eval again with this folder: its journal is kept, the summary is made anew",
        )
