"""JSON Schema (2020-12) of the YAML language, for editors: completion, descriptions, bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from ragdecode.spec import registry
from ragdecode.spec.part import PART_KIND
from ragdecode.spec.reference import FOLDERS

_PREFIX = "#/$defs/"


class _Generate(GenerateJsonSchema):
    """Leaves out titles, which only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(kind: str = "pipelines") -> dict[str, Any]:
    """The schema of a kind of document (a key of `FOLDERS`), parts of plug-ins included."""
    from ragdecode.spec.load import document_type

    main = TypeAdapter(document_type(kind)).json_schema(schema_generator=_Generate)
    wanted = {node[PART_KIND] for node in _objects(main) if PART_KIND in node}
    kinds: set[str] = set()
    definitions: dict[str, Any] = {}
    # parts may ask for parts of other kinds, so this goes on until no new kind turns up
    while wanted - kinds:
        kinds |= wanted
        main, definitions = _generate(document_type(kind), sorted(kinds))
        wanted = {node[PART_KIND] for node in _objects(definitions) if PART_KIND in node}
    definitions = definitions or main.pop("$defs", {})
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ragdecode: {FOLDERS[kind]}/*.yaml",
    }
    if "$ref" in main:
        main = definitions.pop(main["$ref"].removeprefix(_PREFIX))
    body = {key: value for key, value in main.items() if key != "title"}
    whole: dict[str, Any] = _with_references({**head, **body, "$defs": dict(sorted(definitions.items()))})
    return whole


def _generate(document: Any, kinds: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document's schema and all definitions, a definition of each kind of part among them."""
    parts = [info for kind in kinds for info in registry.parts(kind).values()]
    inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = [("document", "validation", TypeAdapter(document))]
    inputs += [((info.kind, info.name), "validation", TypeAdapter(info.settings)) for info in parts]
    made, shared = TypeAdapter.json_schemas(inputs, schema_generator=_Generate)
    definitions = dict(shared.get("$defs", {}))
    for kind in kinds:
        arms: list[dict[str, Any]] = []
        for info in registry.parts(kind).values():
            settings = made[(kind, info.name), "validation"]
            arms.append({"const": info.name, "description": f"{info.summary} (default settings)"})
            arms.append(
                {
                    "type": "object",
                    "description": info.summary,
                    "required": [info.name],
                    "properties": {info.name: {"anyOf": [settings, *_alone(info, definitions), {"type": "null"}]}},
                    "additionalProperties": False,
                }
            )
        definitions[kind] = {"anyOf": arms} if arms else {"not": {}, "description": f"No {kind} is installed."}
    return dict(made["document", "validation"]), definitions


def _alone(info: registry.PartInfo, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """What may stand in the place of a part's settings: the one field that they are about, if there is such a one."""
    field = info.settings.bare
    return [definitions[info.settings.__name__]["properties"][field]] if field else []


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def _with_references(schema: Any) -> Any:
    """The schema with a reference to the definition of its kind at the place of every part."""
    if isinstance(schema, dict):
        if PART_KIND in schema:
            rest = {key: value for key, value in schema.items() if key not in (PART_KIND, "anyOf")}
            return {"$ref": _PREFIX + schema[PART_KIND], **rest}
        return {key: _with_references(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_with_references(value) for value in schema]
    return schema
