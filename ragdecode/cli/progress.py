"""Progress on stderr: bars on a terminal, a line a stage elsewhere, and one every half minute of a long stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ragdecode.models.progress import Progress

#: seconds after which a stage that goes on is told again
_AGAIN = 30.0


@contextmanager
def show_progress(title: str) -> Iterator[Progress]:
    """Show what the block reports, under a title."""
    if sys.stderr.isatty():
        with _bars(title) as report:
            yield report
    else:
        yield _lines(title)


def _lines(title: str) -> Progress:
    current, told, began, first = "", 0.0, 0.0, 0
    stream = sys.stderr  # pinned, see below

    def report(stage: str, done: int, total: int) -> None:
        nonlocal current, told, began, first
        now = time.monotonic()
        if stage != current:
            click.echo(f"{title}: {stage}", file=stream)
            began, first = now, done
        elif now - told >= _AGAIN:
            left = _left(now - began, done - first, total - done) if total else ""
            click.echo(f"{title}: {stage}: {_amount(done, total)}{left}", file=stream)
        else:
            return
        current, told = stage, now

    return report


@contextmanager
def _bars(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    # pinned: libraries whose own bars are silenced have stderr redirected meanwhile
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("[bold]{task.fields[title]}[/]"),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as bars:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in tasks.values():  # one stage follows another
                    bars.update(task, total=1, completed=1)
                tasks[stage] = bars.add_task(stage, total=None, title=title, amount="")
            bars.update(tasks[stage], total=total or None, completed=done, amount=_amount(done, total))

        yield report
        for task in tasks.values():
            bars.update(task, total=1, completed=1)


def _left(seconds: float, done: int, left: int) -> str:
    """How long the rest takes at the same rate."""
    return f", {seconds * left / done:,.0f} s left" if done > 0 and left > 0 else ""


def _amount(done: int, total: int) -> str:
    return f"{done:,} of {total:,}" if total else f"{done:,}"
