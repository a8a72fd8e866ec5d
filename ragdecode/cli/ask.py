"""``ragdecode ask``: answer one question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragdecode.cli.open_pipeline import docs_option, fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option
from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.pipeline.answer import Answer
    from ragdecode.pipeline.events import Event
    from ragdecode.pipeline.pipeline import Pipeline

#: Best tokens that a trace shows at each position.
_ALTERNATIVES = 5
#: Pieces of evidence of each token that rules tell in a trace and in JSON, such as neighbours that voted.
_NEIGHBOURS = 5


@click.command()
@pipeline_argument
@click.argument("question")
@docs_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write what was known when each token was chosen.",
)
@fetch_option
def command(
    pipeline: str,
    question: str,
    docs: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    trace: Path | None,
    fetch: bool,
) -> None:
    """Answer QUESTION with PIPELINE, a YAML file or a name; sources follow the answer."""
    if not question.strip():
        raise InputError("the question is empty", hint='ragdecode ask PIPELINE "What is ...?"')
    if trace is not None and not trace.resolve().parent.is_dir():
        raise InputError(f"cannot write the trace {trace}: its folder does not exist", hint="make the folder first")
    with open_pipeline(pipeline, overrides, docs=docs, fetch=fetch) as (opened, progress):
        answer = _answer(opened, progress, question, as_json=as_json, trace=trace)
    if trace is not None:
        from ragdecode.pipeline.trace import write_trace

        write_trace(answer, trace)
        click.echo(f"trace: {trace}", err=True)


def _answer(pipeline: Pipeline, progress: StageProgress, question: str, *, as_json: bool, trace: Path | None) -> Answer:
    alternatives = _ALTERNATIVES if trace is not None else 0
    explain = _NEIGHBOURS if trace is not None or as_json else 0
    if as_json:
        import json

        answer = pipeline.ask(question, alternatives=alternatives, explain=explain)
        progress.close()
        click.echo(json.dumps(answer.to_json(), ensure_ascii=False, allow_nan=False))
        return answer
    from ragdecode.cli.answer_view import AnswerView, show_cost, show_sources, show_verdicts

    with closing(pipeline.stream(question, alternatives=alternatives, explain=explain)) as events:
        answer = AnswerView(by_sentence=pipeline.cites).show(without_progress(events, progress))
    show_verdicts(answer)
    if answer.passages:
        click.echo("")
        show_sources(answer.passages)
    show_cost(answer)
    return answer


def without_progress(events: Iterator[Event], progress: StageProgress) -> Iterator[Event]:
    """The events, progress bars taken away before the first of them is shown."""
    for event in events:
        progress.close()
        yield event
