"""``ragdecode index``: build, look into and verify indexes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.indexing.report import BuildReport
    from ragdecode.spec.index import IndexSpec
    from ragdecode.spec.load import LoadedDocument

_set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, as in split.tokens=100."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def command() -> None:
    """Build, look into and verify indexes.

    TARGET is a pipeline or an index: a YAML file or a name.
    """


@command.command("build")
@click.argument("target")
@_set_option
@_json_option
@click.option("--force", is_flag=True, help="Build everything anew.")
@click.option("--pull", "fetch", is_flag=True, help="Fetch model weights that are not on this machine.")
def build(target: str, overrides: tuple[str, ...], as_json: bool, force: bool, fetch: bool) -> None:
    """Bring the index of TARGET up to date with its corpus."""
    from ragdecode.cli.progress import show_progress
    from ragdecode.indexing.build import build_index
    from ragdecode.indexing.location import index_path
    from ragdecode.indexing.models import IndexModels

    document = _load(target, overrides)
    spec, path = _index_spec(document), index_path(document)
    click.echo(_announcement(spec, path), err=True)
    device = "auto" if document.kind == "indexes" else document.spec.engine.device
    model = None if document.kind == "indexes" else document.spec.model
    models = IndexModels(spec, model, device=device, fetch=fetch)
    with show_progress("index") as progress:
        report = build_index(
            spec,
            path,
            token_offsets=models.token_offsets,
            tokenizer_fingerprint=models.tokenizer_fingerprint,
            encoders=models.encoder,
            progress=progress,
            force=force,
        )
    if as_json:
        click.echo(json.dumps({"path": str(path), **asdict(report)}, ensure_ascii=False, indent=2))
    else:
        _print_report(report)


@command.command("info", short_help="Print what an index says about itself.")
@click.argument("target")
@_set_option
@_json_option
def info(target: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what the index of TARGET (or the index in the folder TARGET) says about itself."""
    from ragdecode.indexing.index import open_index

    facts = open_index(*_folder(target, overrides)).info()
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name in ("path", "format", "version", "content", "files", "passages", "tokens", "bytes", "tokenizer"):
        click.echo(f"{name}: {facts[name]}")
    for name, store in facts["stores"].items():
        click.echo(f"store {name}: {json.dumps(store['facts'], ensure_ascii=False)}")
    for entry in facts["skipped"]:
        click.echo(_skipped(entry["source"], entry["reason"]))


@command.command("verify", short_help="Look for damage in an index.")
@click.argument("target")
@_set_option
@_json_option
def verify(target: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Recompute the hashes of the index of TARGET; exit code 1 if anything is not as it was built."""
    from ragdecode.indexing.index import verify_index

    path = _folder(target, overrides)[0]
    problems = verify_index(path)
    if as_json:
        outcome = {"path": str(path), "ok": not problems, "problems": problems}
        click.echo(json.dumps(outcome, ensure_ascii=False, indent=2))
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(
            "damaged: rebuild it with 'ragdecode index build --force'"
            if problems
            else f"whole: {path} is as it was built"
        )
    if problems:
        sys.exit(1)


def _load(target: str, overrides: tuple[str, ...]) -> LoadedDocument:
    """The pipeline or index that is meant."""
    from ragdecode.spec.catalogue import NAME, file_of, find
    from ragdecode.spec.load import load_document

    path = Path(target)
    kind = "pipelines"
    if path.is_file():
        if re.search(r"^corpus\s*:", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
            kind = "indexes"
    elif NAME.fullmatch(target) and not _known(target, "pipelines", file_of, find):
        kind = "indexes" if _known(target, "indexes", file_of, find) else "pipelines"
    return load_document(kind, target, overrides)


def _known(name: str, kind: str, file_of: Any, find: Any) -> bool:
    return bool(file_of(Path.cwd(), kind, name) or find(kind, name))


def _index_spec(document: LoadedDocument) -> IndexSpec:
    spec: IndexSpec | None = document.spec if document.kind == "indexes" else document.spec.index
    if spec is None:
        raise InputError(f"the pipeline {document.name} has no index", hint="add 'index:' to it")
    return spec


def _folder(target: str, overrides: tuple[str, ...]) -> tuple[Path, IndexSpec | None]:
    """Folder of the index that is meant, and what it must have been built from."""
    from ragdecode.indexing.location import index_path

    if _is_folder(target):
        if overrides:
            raise InputError("--set has no place with the folder of an index")
        return Path(target), None
    document = _load(target, overrides)
    return index_path(document), _index_spec(document)


def _is_folder(target: str) -> bool:
    """Whether the folder of an index is meant, and not a name that some other folder has too."""
    from ragdecode.indexing import manifest
    from ragdecode.spec.catalogue import NAME, file_of, find

    if not Path(target).is_dir() or (Path(target) / manifest.NAME).is_file():
        return Path(target).is_dir()
    named = any(_known(target, kind, file_of, find) for kind in ("pipelines", "indexes"))
    return not (NAME.fullmatch(target) and named)


def _announcement(spec: IndexSpec, path: Path) -> str:
    patterns = ", ".join(spec.corpus.include)
    stores = ", ".join(part.name for part in spec.stores)
    split = f"passages of {spec.split.tokens} tokens, {spec.split.overlap} shared"
    return f"index {path}\n  from {spec.corpus.path} ({patterns})\n  {split}; stores: {stores}"


def _print_report(report: BuildReport) -> None:
    if report.reason:
        click.echo(f"built anew: {report.reason}")
    for stage in report.stages:
        click.echo(str(stage))
    for skipped in report.skipped:
        click.echo(_skipped(skipped.source, skipped.reason))
    click.echo(str(report))


def _skipped(source: str, reason: str) -> str:
    shown = source if source.isprintable() else repr(source)  # a name may hold a line end
    return f"skipped {shown}: {reason}"
