"""``ragdecode memory ground``: make the grounding space of the rule `caad`."""

from __future__ import annotations

from pathlib import Path

import click

from ragdecode.cli.open_model import check_target, opened_model
from ragdecode.cli.open_pipeline import fetch_option


@click.command("ground")
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    "files",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Questions with golden_answers, a JSON object a line; the first answer is read. Can be given again.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.safetensors",
    help="Where the grounding space goes.",
)
@click.option("--encoder", default="minilm", show_default=True, metavar="NAME", help="Sentence encoder of the windows.")
@click.option("--prompt", default="short-answer", show_default=True, metavar="NAME", help="How questions are asked.")
@click.option(
    "--window", type=click.IntRange(1, 512), default=8, show_default=True, help="Tokens of text that are compared."
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Tokens kept of each prediction; the others share what is left.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first questions of each file.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out the first questions of each file.")
@fetch_option
def ground(
    model: str,
    files: tuple[Path, ...],
    out: Path,
    encoder: str,
    prompt: str,
    window: int,
    top: int,
    limit: int | None,
    skip: int,
    fetch: bool,
) -> None:
    """Have MODEL, a name or a YAML file, read true answers, and keep what it predicts in them for the rule `caad`.

    A hundred answers are plenty; ten already help, says the paper. Questions are asked without passages.
    """
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.errors import InputError
    from ragdecode.evaluation.heads.questions import read_questions
    from ragdecode.models.catalogue import find_model
    from ragdecode.spec.load import load_document

    check_target(out)
    asked = [row for file in files for row in read_questions(file, closed=True)[skip:][:limit]]
    if not asked:
        raise InputError(f"--skip {skip} leaves no question")
    template = load_document("prompts", prompt).spec
    spec = find_model(encoder)
    if spec.kind != "encoder":
        raise InputError(f"'{encoder}' is a model of kind {spec.kind}; --encoder needs one of kind encoder")
    with opened_model(model, "ground", fetch=fetch) as (causal, backend, progress):
        from ragdecode.evaluation.grounding import ground as build
        from ragdecode.models.encoder import load_encoder

        opened = load_encoder(spec, fetch=fetch, progress=progress)
        found = build(causal, backend, opened, asked, template, window=window, top=top, progress=progress)
    write_whole(out, found.space.to_bytes(out))
    left = f"; {found.too_long} do not fit the model's window" if found.too_long else ""
    click.echo(f"{found.questions} answers gave {len(found.space.keys):,} entries{left}", err=True)
    click.echo(f"written: {out}", err=True)
