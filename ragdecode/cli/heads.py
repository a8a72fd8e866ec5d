"""``ragdecode heads``: find the heads of a model that copy."""

from __future__ import annotations

from pathlib import Path

import click

from ragdecode.cli.open_model import check_target, opened_model, write_spec
from ragdecode.cli.open_pipeline import fetch_option

#: Tokens of the shortest haystack.
_SHORTEST = 32


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 300,1000") from error
    if min(numbers) < _SHORTEST:
        raise click.BadParameter(f"{min(numbers)} tokens hold no haystack; {_SHORTEST} is the least")
    return tuple(dict.fromkeys(numbers))


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Write the list there, not to stdout."
)
@click.option(
    "--lengths",
    callback=_numbers,
    default="300,700,1500",
    show_default=True,
    metavar="N,...",
    help="Tokens of text around the sentence that is to be found; the paper takes 1,000 to 5,000.",
)
@click.option(
    "--depths", type=click.IntRange(1, 100), default=4, show_default=True, help="How many places of it are tried."
)
@click.option(
    "--trials", type=click.IntRange(1, 3), default=3, show_default=True, help="Sentences tried at each place."
)
@click.option(
    "--haystack",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text to hide the sentences in; the shipped documentation if left out.",
)
@click.option(
    "--forced", is_flag=True, help="Have the model read the sentence as its answer: for models that copy badly."
)
@fetch_option
def command(
    model: str,
    out: Path | None,
    lengths: tuple[int, ...],
    depths: int,
    trials: int,
    haystack: Path | None,
    forced: bool,
    fetch: bool,
) -> None:
    """Find the retrieval heads of MODEL, a name or a YAML file, and write them as a list for `decore`.

    A sentence is hidden in a text and asked for. A head scores when it looks at the token of the sentence that is
    written next. Trials in which the answer repeats half of the sentence's words or less do not count.
    """
    check_target(out)
    text = _read(haystack) if haystack is not None else None
    with opened_model(model, "heads", fetch=fetch) as (causal, backend, progress):
        from ragdecode.evaluation.heads.copying import find_retrieval_heads
        from ragdecode.evaluation.heads.haystack import documentation
        from ragdecode.evaluation.heads.haystack import trials as prompts

        tried = list(prompts(causal.tokenizer, text or documentation(), lengths, depths, trials))
        found = find_retrieval_heads(causal, backend, tried, forced=forced, progress=progress)
    how = "read" if forced else "copied"
    sizes = ", ".join(map(str, lengths))
    description = (
        f"Retrieval heads of {causal.spec.name or causal.path.name}, by {found.kept} of {found.trials} needles "
        f"that it {how} in texts of {sizes} tokens."
    )
    write_spec(found.spec.model_copy(update={"description": description}), out)
    best = ", ".join(f"{one.layer}-{one.head} ({one.score:.2f})" for one in found.spec.heads[:5])
    click.echo(f"{found.kept} of {found.trials} trials count; best heads: {best}", err=True)


def _read(file: Path) -> str:
    """A text file.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    from ragdecode.errors import InputError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the haystack {file}: {reason}") from error
