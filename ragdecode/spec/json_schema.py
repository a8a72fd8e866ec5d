"""JSON Schema (2020-12) of the YAML language, for editors: completion, descriptions, bounds."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from ragdecode.spec.reference import FOLDERS


class _Generate(GenerateJsonSchema):
    """Leaves out titles, which only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(kind: str = "pipelines") -> dict[str, Any]:
    """The schema of a kind of document (a key of `FOLDERS`), parts of plug-ins included."""
    from ragdecode.spec.load import document_type

    made = TypeAdapter(document_type(kind)).json_schema(schema_generator=_Generate, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ragdecode: {FOLDERS[kind]}/*.yaml",
        **{key: value for key, value in made.items() if key != "title"},
    }
