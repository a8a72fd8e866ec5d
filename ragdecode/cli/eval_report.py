"""``ragdecode eval report``: the page and the tables of a run's folder, made anew."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", short_help="Make the page and tables of a run anew.")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--cases", type=click.IntRange(min=0), default=1000, show_default=True, help="The most questions in the page."
)
def report(folder: Path, cases: int) -> None:
    """Write report.html, summary.csv and samples.csv into FOLDER, from its journal and its summary."""
    for path in write_report(folder, cases=cases):
        click.echo(f"written: {path}")


def write_report(folder: Path, *, cases: int = 1000) -> list[Path]:
    """Write the page and the tables of a run; each file appears whole or not at all.

    Args:
        folder: With ``summary.json`` and ``predictions.jsonl``.
        cases: The most questions in the page.

    Returns:
        The files.

    Raises:
        InputError: It is no folder of a run, or cannot be written to.
        RunError: The disk is full.
    """
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.evaluation.report.eval import page
    from ragdecode.evaluation.report.run_folder import RunFolder
    from ragdecode.evaluation.report.tables import samples_csv, summary_csv

    run = RunFolder.open(folder)
    names = [name for name, one in run.summary["metrics"].items() if one["scope"] == "example"]
    written = {
        "report.html": page(run, cases=cases),
        "summary.csv": summary_csv(run.summary),
        "samples.csv": samples_csv(run.records(), names),
    }
    for name, content in written.items():
        write_whole(folder / name, content)
    return [folder / name for name in written]
