"""How a part is written in YAML: a name, or a one-key mapping ``name: {settings}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from ragdecode.spec import registry
from ragdecode.spec.settings import Settings


@dataclass(frozen=True)
class Part:
    """A part with its validated settings, ready to be built.

    Attributes:
        kind: Kind of part, a key of `registry.KINDS`.
        name: Its registered name.
        settings: The validated settings, defaults filled in.
    """

    kind: str
    name: str
    settings: Settings

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Make the part: ``cls(settings, *args, **kwargs)``."""
        info = registry.find(self.kind, self.name)
        assert info is not None
        return info.cls(self.settings, *args, **kwargs)

    def to_yaml(self) -> dict[str, Any]:
        """The part as a one-key mapping with every default filled in."""
        return {self.name: self.settings.model_dump(mode="json")}


@dataclass(frozen=True)
class PartKind:
    """Annotation that turns ``name`` or ``{name: {settings}}`` into a `Part` of a kind."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda part: part.to_yaml()),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        parts = registry.parts(self.kind)
        with_settings = [
            {
                "type": "object",
                "additionalProperties": False,
                "required": [name],
                "properties": {name: info.settings.model_json_schema()},
                "description": info.summary,
            }
            for name, info in parts.items()
        ]
        return {"anyOf": [{"type": "string", "examples": list(parts)}, *with_settings]}

    def validate(self, value: Any) -> Part:
        """Normalise and validate one part."""
        if isinstance(value, Part):
            return value
        if isinstance(value, str):
            name, settings = value, {}
        elif isinstance(value, Mapping) and len(value) == 1:
            name, settings = next(iter(value.items()))
            settings = {} if settings is None else settings
        else:
            raise PydanticCustomError(
                "part_form", "expected a {kind} name or one mapping 'name: {{settings}}'", {"kind": self.kind}
            )
        info = registry.find(self.kind, str(name))
        if info is None:
            near = get_close_matches(str(name), registry.parts(self.kind), n=1)
            raise PydanticCustomError(
                "part_unknown",
                "unknown {kind} '{name}'{did_you_mean}",
                {"kind": self.kind, "name": str(name), "did_you_mean": f"; did you mean '{near[0]}'?" if near else ""},
            )
        return Part(self.kind, info.name, info.settings.model_validate(settings))


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]


Rule = Annotated[Part, PartKind("rule")]
Drafter = Annotated[Part, PartKind("drafter")]
Constraint = Annotated[Part, PartKind("constraint")]
Monitor = Annotated[Part, PartKind("monitor")]
Retriever = Annotated[Part, PartKind("retriever")]
Fusion = Annotated[Part, PartKind("fusion")]
Store = Annotated[Part, PartKind("store")]

Rules = Annotated[tuple[Rule, ...], BeforeValidator(_as_list)]
Drafters = Annotated[tuple[Drafter, ...], BeforeValidator(_as_list)]
Constraints = Annotated[tuple[Constraint, ...], BeforeValidator(_as_list)]
Monitors = Annotated[tuple[Monitor, ...], BeforeValidator(_as_list)]
Retrievers = Annotated[tuple[Retriever, ...], BeforeValidator(_as_list)]
Stores = Annotated[tuple[Store, ...], BeforeValidator(_as_list)]
