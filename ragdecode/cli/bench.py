"""``ragdecode bench``: measure a pipeline against others."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ragdecode.cli.open_pipeline import fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option
from ragdecode.errors import InputError

_OTHERS = "ragdecode-nodraft,hf-greedy,hf-prompt-lookup"


def _sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Batch sizes from a comma-separated list."""
    try:
        sizes = tuple(int(item) for item in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a comma-separated list of numbers, such as 1,8") from error
    if min(sizes) < 1:
        raise click.BadParameter(f"{min(sizes)} is no size of a batch")
    return sizes


@click.command()
@pipeline_argument
@click.option(
    "--prompts",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Request lines, as for decode.",
)
@click.option(
    "--against",
    default=_OTHERS,
    show_default=True,
    metavar="NAME,...",
    help="Contenders beside ragdecode itself; there are hf-assisted and llama-cpp, too.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=2), help="Longest answer; the pipeline's own if left out.")
@click.option("--repeat", "repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of all.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first prompts.")
@click.option(
    "--batch",
    "batches",
    default="1",
    show_default=True,
    callback=_sizes,
    metavar="N,...",
    help="Prompts decoded together; everything is run for each size.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Write that object here."
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png|svg",
    help="Draw speeds and acceptance.",
)
@set_option
@fetch_option
def command(
    pipeline: str,
    file: Path,
    against: str,
    max_new_tokens: int | None,
    repeats: int,
    limit: int | None,
    batches: tuple[int, ...],
    as_json: bool,
    out: Path | None,
    picture: Path | None,
    overrides: tuple[str, ...],
    fetch: bool,
) -> None:
    """Compare the decoding speed of PIPELINE with others on the same prompts.

    Contenders run in turns in one process. Figures are medians over repeats; ratios are taken within each repeat.
    ragdecode-nodraft is the same pipeline without its drafters; hf-greedy, hf-prompt-lookup and hf-assisted are
    transformers' generation on the with_context prompt, with the plain rule, the same weights and stop tokens;
    llama-cpp is llama.cpp on the same weights in float32.
    """
    from ragdecode.cli.bench_view import show
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.evaluation.bench.benchmark import Benchmark
    from ragdecode.evaluation.bench.contenders import contender_names
    from ragdecode.evaluation.bench.plot import check_plot, plot
    from ragdecode.pipeline.request_lines import read_requests

    names = contender_names(against)
    if picture is not None:
        check_plot(picture)
    if out is not None and not out.resolve().parent.is_dir():
        raise InputError(f"cannot write {out}: its folder does not exist", hint="make the folder first")
    if max_new_tokens is not None:
        overrides = (*overrides, f"decode.max_new_tokens={max_new_tokens}")
    with open_pipeline(pipeline, overrides, fetch=fetch) as (opened, progress):
        requests = read_requests(file, opened.needs, opened.optional)[:limit]
        found = Benchmark(opened, names, requests, repeats=repeats, progress=progress, batches=batches).run()
        progress.close()
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    if out is not None:
        write_whole(out, text + "\n")
    if picture is not None:
        write_whole(picture, plot(found, picture.suffix))
    if as_json:
        click.echo(text)
    else:
        show(found)
