"""Typed specs as plain data and as YAML that loads to the same specs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ragdecode.spec.part import Part


def plain(spec: Any) -> Any:
    """A spec (or a tuple of parts) as dicts, lists and values, defaults filled in; secrets stay hidden."""
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json")
    if isinstance(spec, Part):
        return spec.to_yaml()
    return [plain(item) for item in spec]


def to_yaml(spec: Any) -> str:
    """The YAML of a spec, every default filled in."""
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Writes null out."""

        def represent_none(self, data: Any) -> Any:
            return self.represent_scalar("tag:yaml.org,2002:null", "null")

    Representer.add_representer(type(None), Representer.represent_none)
    yaml = YAML()
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(_styled(plain(spec)), out)
    return out.getvalue()


def _styled(value: Any) -> Any:
    """Text of several lines as a block, rows of numbers on a line each."""
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.scalarstring import LiteralScalarString

    if isinstance(value, Mapping):
        return {key: _styled(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        row = CommentedSeq(value)
        row.fa.set_flow_style()
        return row
    if isinstance(value, list):
        return [_styled(item) for item in value]
    if isinstance(value, str) and "\n" in value and _fits_a_block(value):
        return LiteralScalarString(value)
    return value


def _fits_a_block(text: str) -> bool:
    """Whether a literal block gives the text back unchanged."""
    lines = text.split("\n")
    return (
        text[0] not in " \t\n"
        and all(line == line.rstrip() for line in lines)
        and not any(ord(letter) < 32 and letter != "\n" for letter in text)
        and all(letter.isprintable() or letter == "\n" for letter in text)
    )
