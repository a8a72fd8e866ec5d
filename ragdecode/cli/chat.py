"""``ragdecode chat``: ask again and again, with history."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragdecode.cli.open_pipeline import docs_option, fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option
from ragdecode.errors import RagDecodeError

if TYPE_CHECKING:
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.pipeline.pipeline import Pipeline

_COMMANDS = "/sources shows the last evidence, /clear forgets what was said, /quit ends"


@click.command()
@pipeline_argument
@docs_option
@set_option
@fetch_option
def command(pipeline: str, docs: Path | None, overrides: tuple[str, ...], fetch: bool) -> None:
    """Ask PIPELINE again and again; earlier turns go with each question.

    Questions are lines of stdin. /sources shows the last evidence, /clear forgets what was said, /quit ends.
    """
    with open_pipeline(pipeline, overrides, docs=docs, fetch=fetch) as (opened, progress):
        failed = _Chat(opened, progress).run()
    if failed:
        sys.exit(failed)


class _Chat:
    """The loop, and what was said in it."""

    def __init__(self, pipeline: Pipeline, progress: StageProgress) -> None:
        from ragdecode.pipeline.answer import Answer
        from ragdecode.pipeline.turn import Turn

        self._pipeline = pipeline
        self._progress = progress
        self._history: list[Turn] = []
        self._last: Answer | None = None
        self._failed = 0

    def run(self) -> int:
        """Until /quit or the end of stdin; the exit code of the last failure, for stdin that is no terminal."""
        interactive = sys.stdin.isatty()
        if interactive:
            with suppress(ImportError):
                import readline  # noqa: F401 - line editing and history of the prompt
            click.echo(f"{self._pipeline.headline}\n{_COMMANDS}", err=True)
        for line in _lines(interactive):
            text = line.strip()
            if text == "/quit":
                break
            if text.startswith("/"):
                self._command(text)
            elif text:
                self._ask(text)
        return 0 if interactive else self._failed

    def _command(self, text: str) -> None:
        if text == "/clear":
            self._history.clear()
            self._last = None
            click.echo("forgotten", err=True)
        elif text == "/sources":
            if self._last is None or not self._last.passages:
                click.echo("there are no sources", err=True)
            else:
                from ragdecode.cli.answer_view import show_sources

                show_sources(self._last.passages)
        else:
            click.echo(f"unknown command {text.split(maxsplit=1)[0]}: {_COMMANDS}", err=True)
            self._failed = 2

    def _ask(self, question: str) -> None:
        from ragdecode.cli.answer_view import AnswerView
        from ragdecode.cli.ask import without_progress
        from ragdecode.pipeline.turn import Turn

        try:
            with closing(self._pipeline.stream(question, self._history)) as events:
                self._last = AnswerView(by_sentence=self._pipeline.cites).show(without_progress(events, self._progress))
        except RagDecodeError as error:  # the next question may be a better one
            self._progress.close()
            click.echo(f"error: {error}", err=True)
            self._failed = error.exit_code
            return
        self._history += [Turn("user", question), Turn("assistant", self._last.answer)]


def _lines(interactive: bool) -> Iterator[str]:
    """Lines of stdin, prompted for on a terminal."""
    while True:
        try:
            yield input("> " if interactive else "")
        except EOFError:
            if interactive:
                click.echo("", err=True)
            return
        except UnicodeDecodeError as error:
            click.echo(f"error: the line is not UTF-8: {error.reason}", err=True)
