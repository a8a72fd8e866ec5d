"""Opens one language model for commands that look into it, and writes what they found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.progress import Progress
    from ragdecode.spec.settings import Settings


@contextmanager
def opened_model(target: str, title: str, *, fetch: bool) -> Iterator[tuple[CausalModel, Backend, Progress]]:
    """A causal model by name or YAML file, its backend, and the command's progress display.

    Raises:
        InputError: There is no such model, or its weights are not on this machine.
    """
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.models.catalogue import find_model

    spec = find_model(target)
    if spec.kind != "causal":
        raise InputError(
            f"'{spec.name or target}' is a model of kind {spec.kind}; its heads copy nothing: name a causal one"
        )

    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.memory import memory_errors
    from ragdecode.pipeline.models import open_backend
    from ragdecode.spec.pipeline import EngineSpec

    progress = StageProgress(title)
    try:
        model = load_causal(spec, fetch=fetch, progress=progress)
        with memory_errors(title):
            yield model, open_backend(model, EngineSpec()), progress
    finally:
        progress.close()


def check_target(out: Path | None) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        InputError: Its folder is not there, or it is a folder.
    """
    if out is None:
        return
    if not out.resolve().parent.is_dir():
        raise InputError(f"cannot write {out}: its folder does not exist", hint=f"make it: mkdir -p {out.parent}")
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder", hint="name a file in it")


def write_spec(spec: Settings, out: Path | None) -> None:
    """Write a spec as YAML: its own keys, then a line for each head.

    Raises:
        InputError: It cannot be written there.
    """
    import json

    from ragdecode.cli.whole_file import write_whole
    from ragdecode.spec.dump import plain

    data = plain(spec)
    heads = data.pop("heads")
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in data.items()]
    lines.append("heads:\n")
    lines += [f"  - {{{', '.join(f'{key}: {value}' for key, value in one.items())}}}\n" for one in heads]
    if out is None:
        click.echo("".join(lines), nl=False)
    else:
        write_whole(out, "".join(lines))
        click.echo(f"written: {out}", err=True)
