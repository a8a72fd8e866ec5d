"""``ragdecode detector``: train what tells by attention which context is used."""

from __future__ import annotations

from pathlib import Path

import click

from ragdecode.cli.open_model import check_target, opened_model, write_spec
from ragdecode.cli.open_pipeline import fetch_option


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    "files",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Questions with golden_answers and contexts, a JSON object a line; can be given again.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Write the detector there, not to stdout."
)
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first questions of each file.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out the first questions of each file.")
@click.option("--heads", type=click.IntRange(1, 1000), default=10, show_default=True, help="Heads that it reads.")
@click.option("--prompt", default="short-answer", show_default=True, metavar="NAME", help="How questions are asked.")
@fetch_option
def command(
    model: str,
    files: tuple[Path, ...],
    out: Path | None,
    limit: int | None,
    skip: int,
    heads: int,
    prompt: str,
    fetch: bool,
) -> None:
    """Train the detector that `dagcd` reads on MODEL, a name or a YAML file.

    Questions count that the model answers wrongly closed-book and rightly with their contexts. A logistic regression
    then learns to tell, by the attention of all heads, the tokens that an answer took from those that it did not.
    """
    from ragdecode.errors import InputError
    from ragdecode.evaluation.heads.questions import read_questions
    from ragdecode.spec.load import load_document

    check_target(out)
    asked = [row for file in files for row in read_questions(file)[skip:][:limit]]
    if not asked:
        raise InputError(f"--skip {skip} leaves no question")
    template = load_document("prompts", prompt).spec
    with opened_model(model, "detector", fetch=fetch) as (causal, backend, progress):
        from ragdecode.evaluation.heads.copying import all_heads
        from ragdecode.evaluation.heads.detector import train
        from ragdecode.evaluation.heads.used_context import collect

        examples = collect(causal, backend, asked, template, progress=progress)
        progress("fitting", 0, 1)
        trained = train(examples, all_heads(backend), heads, causal.heads_fingerprint)
    facts = (
        f"{examples.kept} of {examples.asked} questions, {sum(examples.used)} used tokens among {len(examples.used)}, "
        f"AUC {trained.auc:.3f} on questions not seen"
    )
    description = f"Used context by the attention of {causal.spec.name or causal.path.name}: {facts}."
    write_spec(trained.spec.model_copy(update={"description": description}), out)
    click.echo(facts, err=True)
