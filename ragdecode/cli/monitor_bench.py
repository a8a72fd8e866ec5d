"""What `ragdecode monitor train` and `eval` share: options, and opening what labelled answers are read with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.aligner import Aligner
    from ragdecode.evaluation.monitors.labelled import LabelledData
    from ragdecode.evaluation.monitors.preparing import Bench

data_argument = click.argument("data", metavar="DATA...", nargs=-1, required=True, type=click.Path(path_type=Path))
limit_option = click.option("--limit", type=click.IntRange(min=1), help="Take only so many answers of each data set.")
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep what the model thinks of the answers there; in the user's cache folder if left out.",
)
align_option = click.option(
    "--align",
    default="lexical",
    show_default=True,
    metavar="ALIGNER",
    help="Compares sentences with the evidence, as after `align:` in YAML.",
)


@contextmanager
def open_bench(model: str, prompt: str, aligner: Aligner, cache: Path | None, *, fetch: bool) -> Iterator[Bench]:
    """What labelled answers are read with; interrupted, it says that nothing is lost.

    Raises:
        InputError: The model or the prompt cannot be found, or weights are missing.
    """
    from ragdecode.cli.open_model import opened_model
    from ragdecode.evaluation.monitors.judges import open_judges
    from ragdecode.evaluation.monitors.preparing import Bench
    from ragdecode.models.store import cache_folder
    from ragdecode.spec.load import load_document

    template = load_document("prompts", prompt).spec
    try:
        with opened_model(model, "monitor", fetch=fetch) as (causal, backend, progress):
            journal = cache or cache_folder() / "monitors" / f"{causal.fingerprint}.jsonl"
            resources = open_judges(aligner.models, fetch=fetch, progress=progress)
            yield Bench(causal, backend, template, aligner, resources, journal, progress)
    except KeyboardInterrupt:
        click.echo("what was read so far is kept: the same command goes on from there", err=True)
        raise


def build_aligner(written: str) -> Aligner:
    """The aligner that an option names: a name, or YAML such as ``{entailment: {model: nli}}``.

    Raises:
        InputError: There is no such aligner, or its settings are wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    from ragdecode.errors import InputError
    from ragdecode.spec.node import Source, to_plain
    from ragdecode.spec.part import Aligner as Part
    from ragdecode.spec.yaml_tree import parse

    here = Path.cwd()
    value: Any = to_plain(parse(written, Source("--align", here, here)))
    try:
        built: Aligner = TypeAdapter(Part).validate_python(value).build()
    except ValidationError as error:
        raise InputError(f"--align {written}: {error.errors()[0]['msg']}", hint="ragdecode list aligner") from error
    return built


def tell_tally(data: Sequence[LabelledData]) -> None:
    """Say on stderr what was left out of the data, and why."""
    for one in data:
        for line in one.tally.lines():
            click.echo(f"{one.name}: left out or doubtful: {line}", err=True)
