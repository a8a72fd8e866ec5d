"""Loads a pipeline for a command, with progress and log lines on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ragdecode.models.progress import Progress
    from ragdecode.pipeline.pipeline import Pipeline


class StageProgress:
    """Progress of the stages of one command; shows nothing until there is something long to tell."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._stack = ExitStack()
        self._report: Progress | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that a stage has done so much."""
        from ragdecode.cli.progress import show_progress

        if self._report is None:
            self._report = self._stack.enter_context(show_progress(self._title))
        self._report(stage, done, total)

    def close(self) -> None:
        """Take bars off the screen; a later report brings new ones."""
        self._stack.close()
        self._report = None


class _Lines(logging.Handler):
    """Log records as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        click.echo(f"{prefix}{record.getMessage()}", err=True)


@contextmanager
def open_pipeline(
    target: str, overrides: Sequence[str], *, docs: Path | None = None, fetch: bool = False
) -> Iterator[tuple[Pipeline, StageProgress]]:
    """A loaded pipeline and its progress display, closed again at the end."""
    from ragdecode.pipeline.pipeline import Pipeline

    logger, handler = logging.getLogger("ragdecode"), _Lines(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    progress = StageProgress(target)
    try:
        with Pipeline.load(target, overrides, docs=docs, progress=progress, fetch=fetch) as pipeline:
            yield pipeline, progress
    finally:
        progress.close()
        logger.removeHandler(handler)
        logger.setLevel(level)


pipeline_argument = click.argument("pipeline", metavar="PIPELINE")
docs_option = click.option(
    "--docs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Search these documents in the place of the pipeline's own.",
)
fetch_option = click.option("--pull", "fetch", is_flag=True, help="Fetch model weights that are not on this machine.")
