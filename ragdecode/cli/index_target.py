"""What the commands of ``ragdecode index`` are about: the index of a pipeline, of an index file, or in a folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.spec.index import IndexSpec
    from ragdecode.spec.load import LoadedDocument

target_argument = click.argument("target")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, as in split.tokens=100."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def load_target(target: str, overrides: Sequence[str]) -> LoadedDocument:
    """The pipeline or index that is meant.

    Raises:
        InputError: There is none of that name, or its YAML is wrong.
    """
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


def spec_of(document: LoadedDocument) -> IndexSpec:
    """What it says of its index.

    Raises:
        InputError: It is a pipeline without one.
    """
    spec: IndexSpec | None = document.spec if document.kind == "indexes" else document.spec.index
    if spec is None:
        raise InputError(f"the pipeline {document.name} has no index", hint="add 'index:' to it")
    return spec


def locate(target: str, overrides: Sequence[str]) -> tuple[Path, LoadedDocument | None]:
    """Folder of the index that is meant, and the document it belongs to; None if the folder itself was named.

    Raises:
        InputError: There is no index there.
    """
    from ragdecode.indexing import manifest
    from ragdecode.indexing.location import index_path

    if _is_folder(target):
        if overrides:
            raise InputError("--set has no place with the folder of an index")
        return Path(target), None
    document = load_target(target, overrides)
    spec_of(document)
    path = index_path(document)
    if not (path / manifest.NAME).exists():
        settings = [word for one in overrides for word in ("--set", one)]
        command = shlex.join(["ragdecode", "index", "build", target, *settings])
        raise InputError(f"there is no index in {str(path)!r}", hint=f"build it with '{command}'")
    return path, document


def _known(name: str, kind: str, file_of: Any, find: Any) -> bool:
    return bool(file_of(Path.cwd(), kind, name) or find(kind, name))


def _is_folder(target: str) -> bool:
    """Whether the folder of an index is meant, and not a name that some other folder has too."""
    from ragdecode.indexing import manifest
    from ragdecode.spec.catalogue import NAME, file_of, find

    if not Path(target).is_dir() or (Path(target) / manifest.NAME).is_file():
        return Path(target).is_dir()
    named = any(_known(target, kind, file_of, find) for kind in ("pipelines", "indexes"))
    return not (NAME.fullmatch(target) and named)
