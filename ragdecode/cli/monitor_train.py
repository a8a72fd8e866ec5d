"""``ragdecode monitor train``: learn from labelled answers which sentences are faithful."""

from __future__ import annotations

from pathlib import Path

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

_GROUPS = ("likelihood", "entropy", "lid", "influence", "alignment", "length")


@click.command("train")
@data_argument
@click.option("--model", required=True, metavar="MODEL", help="The model that it is for: a name or a YAML file.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.yaml",
    help="Write it there, such as configs/monitors/mine.yaml; trees and anchors go to FILE.safetensors.",
)
@click.option("--kind", type=click.Choice(["logistic", "trees"]), default="logistic", show_default=True)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(_GROUPS),
    help="Leave a group of features out; can be given again. Without influence it needs no second view.",
)
@click.option("--calibration", type=click.Choice(["platt", "isotonic"]), default="platt", show_default=True)
@click.option(
    "--anchors", type=click.IntRange(30, 2000), default=200, show_default=True, help="Most anchors of lid to keep."
)
@click.option("--prompt", default="grounded", show_default=True, metavar="NAME", help="How questions are asked.")
@align_option
@click.option("--licence", multiple=True, metavar="TEXT", help="Of each DATA in turn; it is written into the file.")
@limit_option
@cache_option
@click.option("--seed", type=int, default=0, show_default=True, help="Draws folds and anchors.")
@fetch_option
def train(
    data: tuple[Path, ...],
    model: str,
    out: Path,
    kind: str,
    without: tuple[str, ...],
    calibration: str,
    anchors: int,
    prompt: str,
    align: str,
    licence: tuple[str, ...],
    limit: int | None,
    cache: Path | None,
    seed: int,
    fetch: bool,
) -> None:
    """Learn from labelled answers which sentences their evidence supports, for `syncheck`.

    MODEL reads every answer with its evidence and without. Strength, calibration and threshold are chosen on held-out
    sources; how well the whole does on sources that were not seen is measured by another round of cross-validation.
    """
    from ragdecode.cli.open_model import check_target
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.errors import InputError
    from ragdecode.evaluation.monitors.fitting import FitSettings
    from ragdecode.evaluation.monitors.preparing import read_all
    from ragdecode.evaluation.monitors.saving import to_yaml
    from ragdecode.evaluation.monitors.training import features_without, train_monitor

    check_target(out)
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is no YAML file", hint=f"--out {out.with_suffix('.yaml')}")
    features = features_without(without)
    aligner = build_aligner(align)
    read = read_all(data, limit)
    settings = FitSettings(kind, features, calibration, anchors, seed=seed)  # type: ignore[arg-type]
    with open_bench(model, prompt, aligner, cache, fetch=fetch) as bench:
        trained = train_monitor(bench, read, settings, out, prompt=prompt, licences=licence)
    tell_tally(read)
    if trained.saved.arrays is not None:  # the YAML comes last, so that it never names what is not there
        write_whole(out.with_suffix(".safetensors"), trained.saved.arrays)
    write_whole(out, to_yaml(trained.saved.spec))
    for line in trained.lines():
        click.echo(line, err=True)
    click.echo(f"written: {out}", err=True)
