"""``ragdecode models``: list, fetch and remove model weights."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from ragdecode.errors import RagDecodeError

if TYPE_CHECKING:
    from ragdecode.models.store import ModelStore
    from ragdecode.spec.model import ModelSpec


@click.group()
def command() -> None:
    """List, fetch and remove model weights."""


@command.command("list", short_help="List models, and which are on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(as_json: bool) -> None:
    """List the models that can be named here, and which of them are on this machine."""
    from ragdecode.models.catalogue import describe_source, find_model, model_names
    from ragdecode.models.store import ModelStore

    store = ModelStore()
    rows: list[dict[str, Any]] = []
    for name in model_names():
        try:
            spec = find_model(name)
        except RagDecodeError:  # one broken file hides nothing else
            rows.append(_broken(name))
            continue
        path, state = _state(store, spec)
        rows.append(
            {
                "name": name,
                "kind": spec.kind,
                "cached": state == "yes",
                "state": state,
                "bytes": _size(path),
                "source": describe_source(spec),
                "licence": spec.licence,
                "description": spec.description,
                "path": path,
            }
        )
    known = {row["path"] for row in rows}
    rows += [
        {
            "name": model.name,
            "kind": model.manifest.kind if model.manifest else "",
            "cached": model.manifest is not None,
            "state": "not named here" if model.manifest else "damaged",
            "bytes": model.bytes,
            "source": next(iter(model.manifest.source)) if model.manifest else "",
            "licence": model.manifest.licence if model.manifest else "",
            "description": "",
            "path": str(model.path),
        }
        for model in store.list()
        if str(model.path) not in known
    ]
    if as_json:
        click.echo(json.dumps({"cache": str(store.folder), "models": rows}, ensure_ascii=False, indent=2))
    else:
        _show(rows)


@command.command("pull", short_help="Fetch models and keep them in the cache.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all-default", is_flag=True, help="Fetch the models that the catalogue's own pipelines use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pull(names: tuple[str, ...], all_default: bool, as_json: bool) -> None:
    """Fetch models by NAME (or YAML file), check and convert them, and keep them in the cache."""
    from ragdecode.cli.progress import show_progress
    from ragdecode.models.catalogue import DEFAULT_MODELS, find_model
    from ragdecode.models.store import ModelStore

    wanted = list(dict.fromkeys([*names, *(DEFAULT_MODELS if all_default else ())]))
    if not wanted:
        raise click.UsageError("name a model (ragdecode models list shows them), or say --all-default")
    store = ModelStore()
    specs = {name: find_model(name) for name in wanted}  # all names are checked before the first download
    rows = []
    for name, spec in specs.items():
        start = time.monotonic()
        there = _state(store, spec)[1] == "yes"
        with show_progress(name) as progress:
            path = store.pull(spec, progress)
        seconds = round(time.monotonic() - start, 2)
        size = _size(str(path))
        rows.append({"name": name, "path": str(path), "bytes": size, "fetched": not there, "seconds": seconds})
        if not as_json:
            done = "already there" if there else f"{size / 1e6:.0f} MB in {seconds:.1f} s"
            click.echo(f"{name}: {done}: {path}")
    if as_json:
        click.echo(json.dumps({"models": rows}, ensure_ascii=False, indent=2))


@command.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def remove(names: tuple[str, ...], as_json: bool) -> None:
    """Remove models from the cache."""
    from ragdecode.models.store import ModelStore

    store = ModelStore()
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        _refuse_own_folder(store, name)
        store.find(name)  # all names are checked before the first removal
    rows = []
    for name in wanted:
        freed = store.remove(name)
        rows.append({"name": name, "bytes": freed})
        if not as_json:
            click.echo(f"{name}: removed, {freed / 1e6:.0f} MB freed")
    if as_json:
        click.echo(json.dumps({"removed": rows}, ensure_ascii=False, indent=2))


def _refuse_own_folder(store: ModelStore, name: str) -> None:
    """Weights that a user keeps somewhere are not ours to remove."""
    from ragdecode.errors import InputError
    from ragdecode.models.catalogue import find_model, model_names

    if name not in model_names() or any(model.name == name for model in store.list()):
        return
    try:
        source = find_model(name).source
    except RagDecodeError:
        return
    if source.path is not None:
        raise InputError(f"nothing of {name!r} is cached: its weights are your own, in {source.path.path}")


def _broken(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "",
        "cached": False,
        "state": "broken",
        "bytes": 0,
        "source": "",
        "licence": "",
        "description": f"see: ragdecode check --kind models {name}",
        "path": None,
    }


def _state(store: ModelStore, spec: ModelSpec) -> tuple[str | None, str]:
    """A model's folder, and ``yes``, ``no`` or what is wrong with it."""
    try:
        path = store.locate(spec)
    except RagDecodeError:
        return None, "missing" if spec.source.path is not None else "damaged"
    return (None, "no") if path is None else (str(path), "yes")


def _size(path: str | None) -> int:
    from pathlib import Path

    if path is None:
        return 0
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "kind", "here", "size", "source", "licence", "description", box=None, pad_edge=False)
    for row in rows:
        size = f"{row['bytes'] / 1e6:.0f} MB" if row["bytes"] else ""
        table.add_row(row["name"], row["kind"], row["state"], size, row["source"], row["licence"], row["description"])
    terminal = Console()
    # elsewhere a line a model, however long, so that tools can read it
    (terminal if terminal.is_terminal else Console(width=1000)).print(table)
