"""``ragdecode monitor eval``: how well a trained monitor tells on labelled answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ragdecode.cli.monitor_bench import (
    align_option,
    build_aligner,
    cache_option,
    data_argument,
    limit_option,
    open_bench,
    tell_tally,
)
from ragdecode.cli.open_pipeline import fetch_option


@click.command("eval")
@data_argument
@click.option("--monitor", required=True, metavar="NAME", help="A file of configs/monitors/, by name or path.")
@click.option("--model", default="smollm2-135m", show_default=True, metavar="MODEL", help="The model that it is for.")
@click.option("--prompt", metavar="NAME", help="How questions are asked; as in training if left out.")
@align_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@limit_option
@cache_option
@fetch_option
def evaluate(
    data: tuple[Path, ...],
    monitor: str,
    model: str,
    prompt: str | None,
    align: str,
    as_json: bool,
    limit: int | None,
    cache: Path | None,
    fetch: bool,
) -> None:
    """Judge every sentence of labelled answers, and say how well that tells the unsupported ones.

    Answers are judged by their worst sentence. Beside the monitor stands `unsupervised`, which needs no training. It
    should be data that the monitor was not trained on; that is not checked.
    """
    from ragdecode.evaluation.monitors.evaluating import evaluate_monitor
    from ragdecode.evaluation.monitors.preparing import read_all
    from ragdecode.spec.load import load_document

    spec = load_document("monitors", monitor).spec
    aligner = build_aligner(align)
    if spec.aligner and spec.aligner != aligner.label:
        from ragdecode.errors import InputError

        raise InputError(
            f"the monitor was trained with alignment by {spec.aligner}; --align {align} is {aligner.label}",
            hint="take the aligner that it was trained with",
        )
    read = read_all(data, limit)
    with open_bench(model, prompt or spec.prompt or "grounded", aligner, cache, fetch=fetch) as bench:
        found = {one.name: evaluate_monitor(bench, one, spec) for one in read}
    tell_tally(read)
    if as_json:
        import json

        rows: dict[str, Any] = {
            one.name: {"left_out": one.tally.counts, "rows": [row.to_json() for row in found[one.name]]} for one in read
        }
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from ragdecode.evaluation.monitors.training import shown

    for name, rows_ in found.items():
        click.echo(click.style(name, bold=True))
        for row in rows_:
            for level, one in (("sentences", row.sentences), ("answers", row.answers)):
                rate = "none" if one.base_rate is None else f"{one.base_rate:.3f}"
                unscored = f", {one.unscored} not scored" if one.unscored else ""
                click.echo(
                    f"  {row.name}, {one.examples} {level} of {one.sources} sources{unscored}: AUROC "
                    f"{shown(one.auroc)}, AUPRC {shown(one.auprc)} (base rate {rate}), balanced accuracy "
                    f"{shown(one.balanced)}, ECE {shown(one.ece)}"
                )
