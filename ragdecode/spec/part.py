"""How a part is written in YAML: a name, or a one-key mapping ``name: {settings}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from ragdecode.spec import registry
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.settings import Settings

#: Marks the place of a part in a JSON Schema.
PART_KIND = "x-ragdecode-part"


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

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # parts may hold parts of their own kind, so `json_schema` puts a reference in place of this
        return {PART_KIND: self.kind, "anyOf": [{"type": "string"}, {"type": "object"}]}

    def validate(self, value: Any) -> Part:
        """Normalise and validate one part."""
        if isinstance(value, Part):
            return value
        settings: Any
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
            near = did_you_mean(str(name), registry.parts(self.kind))
            message = f"unknown {self.kind} '{name}'" + (f"; {near}" if near else "")
            raise PydanticCustomError("part_unknown", "{message}", {"message": message})
        try:
            return Part(self.kind, info.name, info.settings.model_validate(settings))
        except ValidationError as error:
            raise _below(info.name, error) from None


def _below(name: str, error: ValidationError) -> ValidationError:
    """The same errors with the part's name at the head of their locations."""
    details = [
        InitErrorDetails(
            # the message is passed as data, because braces in it would be read as a template
            type=PydanticCustomError(item["type"], "{message}", {**item.get("ctx", {}), "message": item["msg"]}),
            loc=(name, *item["loc"]),
            input=item["input"],
        )
        for item in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details)


@dataclass(frozen=True)
class ChainOf:
    """Annotation of a tuple of parts: one alone, a list, or nothing may be written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many.get("items", {}), many, {"type": "null"}]}


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]


Rule = Annotated[Part, PartKind("rule")]
Drafter = Annotated[Part, PartKind("drafter")]
Constraint = Annotated[Part, PartKind("constraint")]
Scorer = Annotated[Part, PartKind("scorer")]
Monitor = Annotated[Part, PartKind("monitor")]
Search = Annotated[Part, PartKind("search")]
Aligner = Annotated[Part, PartKind("aligner")]
Aggregator = Annotated[Part, PartKind("aggregator")]
Reaction = Annotated[Part, PartKind("reaction")]
Retriever = Annotated[Part, PartKind("retriever")]
Fusion = Annotated[Part, PartKind("fusion")]
Store = Annotated[Part, PartKind("store")]
Reader = Annotated[Part, PartKind("reader")]
Loader = Annotated[Part, PartKind("loader")]
Decomposer = Annotated[Part, PartKind("decomposer")]

Dataset = Annotated[Part, PartKind("dataset")]
Metric = Annotated[Part, PartKind("metric")]

Rules = Annotated[tuple[Rule, ...], ChainOf()]
Drafters = Annotated[tuple[Drafter, ...], ChainOf()]
Constraints = Annotated[tuple[Constraint, ...], ChainOf()]
Monitors = Annotated[tuple[Monitor, ...], ChainOf()]
Retrievers = Annotated[tuple[Retriever, ...], ChainOf()]
Stores = Annotated[tuple[Store, ...], ChainOf()]
Readers = Annotated[tuple[Reader, ...], ChainOf()]
Loaders = Annotated[tuple[Loader, ...], ChainOf()]
Metrics = Annotated[tuple[Metric, ...], ChainOf()]
