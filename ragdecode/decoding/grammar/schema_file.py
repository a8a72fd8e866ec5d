"""A JSON Schema in a file of its own: read, and complained of by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError, SpecError
from ragdecode.spec.node import Node, Source, to_plain
from ragdecode.spec.validate import node_at
from ragdecode.spec.yaml_tree import parse, read_text


def read_schema(file: Path) -> Any:
    """The schema of a ``.json`` file, or of a ``.yaml`` one.

    Raises:
        InputError: It cannot be read, or is no JSON or YAML; with its line.
    """
    text = read_text(file, str(file))
    if file.suffix.lower() in (".yaml", ".yml"):
        return to_plain(parse(text, _source(file)))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{error.lineno}: this is no JSON: {error.msg}", hint="see the line") from error
    except RecursionError:
        raise InputError(f"{file}: this schema is nested too deeply") from None


def place_in(file: Path, path: tuple[str | int, ...]) -> str:
    """``FILE:LINE`` of a place of the schema; the file alone where the line cannot be told."""
    try:
        node: Node = parse(read_text(file, str(file)), _source(file))  # JSON is YAML, but for oddities
    except SpecError:
        return str(file)
    if not path:
        return str(file)
    holder, _ = node_at(node, path[:-1])
    keys = getattr(holder, "keys", {})
    place = keys[path[-1]] if path[-1] in keys else node_at(node, path)[0].place
    return f"{file}:{place.line}"


def _source(file: Path) -> Source:
    return Source(str(file), file.parent, file.parent)
