"""The YAML files that come with the package: found by name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ragdecode.errors import InputError
from ragdecode.spec.reference import FOLDERS

#: What a name may look like; a name is never a path.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@cache
def catalogue_root() -> Path:
    """The folder with the catalogue: inside the installed package, or the root of a source checkout."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "catalogue"
    return shipped if shipped.is_dir() else package.parent


def current_folder() -> Path:
    """Where the user is.

    Raises:
        InputError: The folder was removed meanwhile.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise InputError("the current folder is gone", hint="change to a folder that exists") from error


def file_of(root: Path, kind: str, name: str) -> Path | None:
    """The file ``name`` of a kind under a root (an app or the catalogue), or None."""
    if NAME.fullmatch(name) is None:
        return None
    path = root / FOLDERS[kind] / f"{name}.yaml"
    return path if path.is_file() else None


def names_under(root: Path, kind: str) -> list[str]:
    """Names of all files of a kind under a root, sorted."""
    folder = root / FOLDERS[kind]
    return sorted(path.stem for path in folder.glob("*.yaml") if NAME.fullmatch(path.stem) and path.is_file())


def find(kind: str, name: str) -> Path | None:
    """The catalogue's file of a kind (a key of `FOLDERS`) and name, or None."""
    return file_of(catalogue_root(), kind, name)


def names(kind: str) -> list[str]:
    """Names of the catalogue's files of a kind (a key of `FOLDERS`), sorted."""
    return names_under(catalogue_root(), kind)
