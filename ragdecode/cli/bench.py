"""``ragdecode bench``: measure a pipeline against others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ragdecode.cli.open_pipeline import fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option

_OTHERS = "ragdecode-nodraft,hf-greedy,hf-prompt-lookup"
_COLUMNS = {
    "tokens/s": "tokens_per_second",
    "decode tokens/s": "decode_tokens_per_second",
    "first token s": "first_token_seconds",
    "steps": "steps",
    "tokens/pass": "mean_accepted",
    "peak MB": "peak_memory_mb",
}


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
    help="Contenders beside ragdecode itself.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=2), help="Longest answer; the pipeline's own if left out.")
@click.option("--repeat", "repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of all.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first prompts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@set_option
@fetch_option
def command(
    pipeline: str,
    file: Path,
    against: str,
    max_new_tokens: int | None,
    repeats: int,
    limit: int | None,
    as_json: bool,
    overrides: tuple[str, ...],
    fetch: bool,
) -> None:
    """Compare the decoding speed of PIPELINE with others on the same prompts.

    Contenders run in turns in one process. Figures are medians over repeats; ratios are taken within each repeat.
    ragdecode-nodraft is the same pipeline without its drafters; hf-greedy and hf-prompt-lookup are transformers'
    generation on the with_context prompt, with the plain rule, the same weights and stop tokens.
    """
    from ragdecode.evaluation.bench.benchmark import Benchmark, contender_names
    from ragdecode.pipeline.request_lines import read_requests

    names = contender_names(against)
    if max_new_tokens is not None:
        overrides = (*overrides, f"decode.max_new_tokens={max_new_tokens}")
    with open_pipeline(pipeline, overrides, fetch=fetch) as (opened, progress):
        requests = read_requests(file, opened.needs)[:limit]
        found = Benchmark(opened, names, requests, repeats=repeats, progress=progress).run()
        progress.close()
    if as_json:
        import json

        click.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 140
    run, machine = found["run"], found["machine"]
    console.print(f"{run['headline']}   {run['prompts']} prompts, median of {run['repeats']}", markup=False)
    table = Table("contender", *_COLUMNS, "same/ties/different")
    for name, row in found["contenders"].items():
        equal = row["tokens_equal"]
        equals = "/".join(str(equal[key]) for key in ("same", "ties", "different")) if equal else "-"
        table.add_row(name, *(_number(row[key]) for key in _COLUMNS.values()), equals)
    console.print(table)
    ratios = Table("ratio", "tokens/s", "decode tokens/s")
    for name, row in found["ratios"].items():
        ratios.add_row(name, _number(row["tokens_per_second"]), _number(row["decode_tokens_per_second"]))
    if found["ratios"]:
        console.print(ratios)
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['dtype']} on "
        f"{machine['device']}, torch {machine['torch']}, transformers {machine['transformers']}, load average "
        f"{machine['load_average']}",
        markup=False,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}" if value < 100 else f"{value:.0f}"
