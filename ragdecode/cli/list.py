"""``ragdecode list``: what there is to name in YAML."""

from __future__ import annotations

from pathlib import Path

import click

from ragdecode.spec.reference import FOLDERS
from ragdecode.spec.registry import KINDS


@click.command("list")
@click.argument("kind", metavar="[KIND]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(kind: str | None, as_json: bool) -> None:
    """List what YAML can name: files of the app and the catalogue, and parts, of a KIND or of all.

    KINDS of YAML files: indexes, retrievers, pipelines, models, prompts, decoding, heads, detectors, monitors,
    tunings, diagnoses.

    KINDS of parts, those of other installed packages included: rule, drafter, constraint, monitor, aligner,
    aggregator, reaction, search, retriever, fusion, store, reader, loader, decomposer, scorer, dataset, metric.
    """
    if kind is not None and kind not in (*FOLDERS, *KINDS):
        from ragdecode.errors import InputError
        from ragdecode.spec.nearest import did_you_mean

        raise InputError(f"there is no kind {kind!r}", hint=did_you_mean(kind, (*FOLDERS, *KINDS)))
    kinds = [kind] if kind else [*FOLDERS, *KINDS]
    found = {item: _files(item) if item in FOLDERS else _parts(item) for item in kinds}
    if as_json:
        import json

        rows = {
            item: [dict(zip(("name", "origin", "summary"), row, strict=True)) for row in lines]
            for item, lines in found.items()
        }
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for item, lines in found.items():
        where = f"files in {FOLDERS[item]}/" if item in FOLDERS else "parts"
        click.echo(click.style(f"{item} ({where})", bold=True))
        widths = [max((len(row[column]) for row in lines), default=0) for column in (0, 1)]
        for name, origin, summary in lines:
            click.echo(f"  {name.ljust(widths[0])}  {origin.ljust(widths[1])}  {summary}".rstrip())
        if not lines:
            click.echo("  none")


def _parts(kind: str) -> list[tuple[str, str, str]]:
    from ragdecode.spec import registry

    return [(info.name, info.origin, info.summary) for info in registry.parts(kind).values()]


def _files(kind: str) -> list[tuple[str, str, str]]:
    """Own files hide the catalogue's of the same name."""
    from ragdecode.spec import catalogue

    rows = {}
    for origin, root in (("app", catalogue.current_folder()), ("catalogue", catalogue.catalogue_root())):
        if origin == "app" and root.resolve() == catalogue.catalogue_root():
            continue
        for name in catalogue.names_under(root, kind):
            path = catalogue.file_of(root, kind, name)
            if name not in rows and path is not None:
                rows[name] = (name, origin, _summary(kind, path, root))
    return [rows[name] for name in sorted(rows)]


def _summary(kind: str, path: Path, root: Path) -> str:
    """The file's own description, a retriever's stages; a broken file says so and hides nothing else."""
    from ragdecode.errors import SpecError
    from ragdecode.spec.headline import chain_headline
    from ragdecode.spec.include import label_of, open_file
    from ragdecode.spec.load import load_document
    from ragdecode.spec.node import Scalar, Table

    try:
        if kind == "retrievers":
            return chain_headline(load_document(kind, path).spec)
        tree = open_file(path, root)
    except SpecError:
        return f"broken; see: ragdecode check {label_of(path)}"
    text = tree.entries.get("description") if isinstance(tree, Table) else None
    return str(text.value) if isinstance(text, Scalar) and text.value is not None else ""
