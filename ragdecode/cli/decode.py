"""``ragdecode decode``: decode a file of requests, without retrieval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from ragdecode.cli.open_pipeline import fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option
from ragdecode.errors import InputError, RunError

if TYPE_CHECKING:
    from ragdecode.pipeline.decoded import Decoded


@click.command()
@pipeline_argument
@click.option(
    "--requests",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="One request a line: id, and prompt, prompts, question with passages, or messages.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write here instead of to stdout; grows as FILE.partial and gets its name when it is whole.",
)
@set_option
@fetch_option
def command(pipeline: str, file: Path, out: Path | None, overrides: tuple[str, ...], fetch: bool) -> None:
    """Decode requests that bring their own prompts or evidence; one JSON line for each, in order."""
    from ragdecode.pipeline.request_lines import read_requests

    if out is not None and not out.resolve().parent.is_dir():
        raise InputError(f"cannot write {out}: its folder does not exist", hint="make the folder first")
    with open_pipeline(pipeline, overrides, fetch=fetch) as (opened, progress):
        requests = read_requests(file, opened.needs, opened.optional)  # all lines are checked before any model loads
        with closing(opened.decode(requests)) as results:
            count = 0
            with _output(out) as stream:
                for result in results:
                    progress.close()
                    _write(stream, result, out)
                    count += 1
    if out is not None:
        click.echo(f"{out}: {count} answers", err=True)


def _write(stream: TextIO | None, result: Decoded, out: Path | None) -> None:
    line = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
    if stream is None:
        click.echo(line)
        return
    try:
        stream.write(line + "\n")
        stream.flush()
    except OSError as error:
        raise _unwritable(out, error) from error


@contextmanager
def _output(out: Path | None) -> Iterator[TextIO | None]:
    """The file beside the one that is asked for, renamed at the end; what is there stays if something fails."""
    if out is None:
        yield None
        return
    partial = out.with_name(out.name + ".partial")
    try:
        stream = partial.open("w", encoding="utf-8")
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        with stream:
            yield stream
        partial.replace(out)
    except BaseException as error:
        if partial.exists() and partial.stat().st_size:
            click.echo(f"not finished; the answers so far are in {partial}", err=True)
        else:
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(out, error) from error
        raise


def _unwritable(out: Path | None, error: OSError) -> RunError:
    return RunError(f"cannot write {out}: {error.strerror or error}", hint="free some space or name another file")
