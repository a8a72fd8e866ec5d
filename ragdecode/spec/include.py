"""Names in YAML: which file of the app or the catalogue a bare name means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ragdecode.errors import Problem, SpecError
from ragdecode.spec import catalogue
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Node, Place, Source
from ragdecode.spec.reference import FOLDERS
from ragdecode.spec.yaml_tree import parse, read_text


@dataclass(frozen=True)
class Inclusion:
    """A name that was replaced with a file's content.

    Attributes:
        path: Where in the document, ``decode.views.rag.model``.
        kind: Kind of file, a key of `FOLDERS`.
        name: The name that was written.
        file: The file it meant.
        from_catalogue: Whether the catalogue's file was taken, for want of one of the app's.
    """

    path: str
    kind: str
    name: str
    file: Path
    from_catalogue: bool


def label_of(path: Path) -> str:
    """A file as a user would name it: relative to the current folder if it is below it."""
    here = catalogue.current_folder()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def app_root(file: Path) -> Path:
    """The folder that holds ``pipelines/`` above a file, else the file's own folder."""
    return next((folder for folder in file.parents if (folder / "pipelines").is_dir()), file.parent)


def locate(kind: str, name: str, source: Source) -> tuple[Path, Path] | None:
    """The file that a name means, and the root it was found under.

    The file that the name stands in is passed over, so that an app's ``hybrid`` can build on the catalogue's.

    Raises:
        SpecError: The file is one of those that led here: a cycle.
    """
    own = source.files[-1:]
    for root in dict.fromkeys((source.root, catalogue.catalogue_root())):
        path = catalogue.file_of(root, kind, name)
        if path is None or path in own:
            continue
        if path in source.files:
            cycle = [*source.files[source.files.index(path) :], path]
            shown = " -> ".join(item.stem for item in cycle)
            raise SpecError([Problem(f"'{name}' includes itself: {shown}", hint="break the cycle")])
        return path, root
    return None


def open_file(path: Path, root: Path, named_at: Place | None = None, label: str | None = None) -> Node:
    """The tree of a file that belongs to a root, and how it came in: by a name, or itself.

    Raises:
        SpecError: It cannot be read or is not YAML.
    """
    before = () if named_at is None else named_at.source.files
    source = Source(label or label_of(path), path.parent, root, (*before, path), named_at)
    return parse(read_text(path, source.label), source)


def unknown_name(kind: str, name: str, place: Place, path: str, others: list[str] | None = None) -> Problem:
    """The problem of a name that no file (and no part, of the ``others``) has."""
    valid = {*catalogue.names(kind), *catalogue.names_under(place.source.root, kind), *(others or [])}
    if catalogue.NAME.fullmatch(name) is None:
        hint: str | None = "a name is letters, digits, '.', '_' and '-'; it is never a path"
        message = f"{name!r} is not a name of a file in {FOLDERS[kind]}/"
    else:
        hint = did_you_mean(name, sorted(valid))
        what = f"no file {FOLDERS[kind]}/{name}.yaml in the app or the catalogue"
        message = f"unknown name '{name}': {what}" + (", and no such part" if others is not None else "")
    return Problem(message, place.source.label, place.line, path, hint)
