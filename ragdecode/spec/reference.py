"""Annotations of fields that mean more than their type: names of YAML files, and paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import core_schema

#: kind of reference -> folder, relative to the app's root or the catalogue's
FOLDERS: dict[str, str] = {
    "indexes": "indexes",
    "retrievers": "retrievers",
    "pipelines": "pipelines",
    "models": "configs/models",
    "prompts": "configs/prompts",
    "decoding": "configs/decoding",
    "heads": "configs/heads",
    "detectors": "configs/detectors",
    "monitors": "configs/monitors",
    "tunings": "configs/tunings",
    "diagnoses": "configs/diagnoses",
}


@dataclass(frozen=True)
class Reference:
    """Field annotation: a bare name here means ``FOLDERS[kind]/NAME.yaml``."""

    kind: str

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        from ragdecode.spec import catalogue

        inline = handler(schema)
        arms = inline["anyOf"] if set(inline) == {"anyOf"} else [inline]
        name = {
            "type": "string",
            "pattern": f"^{catalogue.NAME.pattern}$",
            "description": f"Name of a file {FOLDERS[self.kind]}/NAME.yaml of the app or the catalogue.",
            "examples": catalogue.names(self.kind),
        }
        for arm in arms:
            if arm.get("type") == "array" and self.kind == "retrievers":
                # a chain's items may be names of files too
                arm["items"] = {"anyOf": [name, arm["items"]]}
        return {"anyOf": [name, *arms]}


@dataclass(frozen=True)
class RelativePath:
    """Field annotation: text that is a path, relative to the YAML file (or to the current folder in ``--set``).

    Resolved specs carry it absolute.

    Attributes:
        must_exist: Whether a missing file or folder is an error of the YAML.
        or_url: Whether it may be an address, ``scheme://...``, which stays as it is.
    """

    must_exist: bool = True
    or_url: bool = False


#: A path in YAML that must exist.
ExistingPath = Annotated[str, RelativePath()]
