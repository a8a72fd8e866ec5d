"""``ragdecode index info`` and ``verify``: what an index says about itself, and whether it is whole."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ragdecode.cli.index_target import json_option, locate, set_option, spec_of, target_argument


@click.command("info", short_help="Print what an index says about itself.")
@target_argument
@set_option
@json_option
def info(target: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what the index of TARGET (or the index in the folder TARGET) says about itself."""
    from ragdecode.indexing.index import open_index

    path, document = locate(target, overrides)
    facts = open_index(path, spec_of(document) if document else None).info()
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for line in _lines(facts):
        click.echo(line)


@click.command("verify", short_help="Look for damage in an index.")
@target_argument
@set_option
@json_option
def verify(target: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Recompute the hashes of the index of TARGET; exit code 1 if anything is not as it was built."""
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.indexing.index import verify_index

    path, _ = locate(target, overrides)
    progress = StageProgress("index")
    try:
        problems = verify_index(path, progress)
    finally:
        progress.close()
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


def _lines(facts: dict[str, Any]) -> list[str]:
    from ragdecode.cli.index_view import skipped_lines
    from ragdecode.documents.walk import Skipped
    from ragdecode.indexing.report import counted, in_bytes

    rows = {
        "path": facts["path"],
        "format": f"{facts['format']}, written by ragdecode {facts['version']}",
        "content": facts["content"],
        "corpus": facts["spec"]["corpus"].get("path") or "loaders",
        "files": f"{facts['files']:,}, skipped {len(facts['skipped']):,}",
        "passages": f"{facts['passages']:,} of {facts['tokens']:,} tokens in all",
        "tokenizer": facts["tokenizer"],
        "size": f"{in_bytes(facts['bytes'])} in {counted(len(facts['data']), 'file')}",
    }
    for name, size in facts["data"].items():
        rows[f"  {name}"] = in_bytes(size)
    for name, store in facts["stores"].items():
        rows[f"store {name}"] = _pairs(store["facts"])
        rows[f"  {name} settings"] = _pairs(store["settings"])
    width = max(map(len, rows))
    lines = [f"{name.ljust(width)}  {value}".rstrip() for name, value in rows.items()]
    skipped, flaws = ([Skipped(**entry) for entry in facts[name]] for name in ("skipped", "flaws"))
    where = "--json lists all"
    return [*lines, *skipped_lines(skipped, where), *skipped_lines(flaws, where, "in part")]


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
