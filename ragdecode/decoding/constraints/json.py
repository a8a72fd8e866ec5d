"""JSON of a given shape: the answer is one JSON text that a JSON Schema accepts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.grammar.json_schema import Whitespace, json_grammar, schema_problem
from ragdecode.decoding.grammar.schema_file import place_in, read_schema
from ragdecode.errors import InputError
from ragdecode.spec.reference import RelativePath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

_WAY_OUT = "leave the keyword out or say the same in others; docs/methods/json.md lists what is supported"


class JsonSettings(Settings):
    """Settings of the JSON constraint."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    one_of_as_any_of: bool = False
    """Take ``oneOf`` as ``anyOf`` where its arms cannot be shown to exclude each other, instead of refusing it."""
    whitespace: Whitespace = "compact"
    """``compact``: none between the tokens of JSON. ``spaced``: one blank after ``,`` and ``:``. ``flexible``: the
    model decides, up to 40 blanks and line ends in a row."""
    json_schema: Annotated[str, RelativePath()] | dict[str, Any] = Field(
        default_factory=lambda: {"type": "object"}, alias="schema"
    )
    """JSON Schema of the answer (draft 2020-12): a file, or the schema itself. Any object if left out."""

    @field_validator("json_schema")
    @classmethod
    def _compiles(cls, schema: str | dict[str, Any], info: ValidationInfo) -> str | dict[str, Any]:
        lax = bool(info.data.get("one_of_as_any_of", False))
        if isinstance(schema, str):
            try:
                problem = schema_problem(read_schema(Path(schema)), one_of_as_any_of=lax)
            except InputError as error:
                raise ValueError(error.message) from None
            if problem is not None:
                raise ValueError(f"{place_in(Path(schema), problem.path)}: {problem.message}; {_WAY_OUT}")
            return schema
        problem = schema_problem(schema, one_of_as_any_of=lax)
        if problem is not None:
            told = PydanticCustomError("json_schema", "{message}", {"message": f"{problem.message}; {_WAY_OUT}"})
            raise ValidationError.from_exception_data(
                "schema", [InitErrorDetails(type=told, loc=problem.path, input=schema)]
            )
        return schema


@register("constraint", "json", JsonSettings)
class Json(Constraint):
    """Lets the answer be nothing but JSON that a schema accepts, and end only where the JSON is complete.

    The schema is compiled by llguidance, which works on the bytes that tokens write, so any tokenizer will do.
    Properties come in the order of the schema. Keywords that it cannot keep are refused, never ignored.
    """

    spells: ClassVar[bool] = True
    unmixable: ClassVar[dict[str, str]] = {
        "require": "the phrases would be written by force in the middle of the JSON, which forbids them",
        "quote": "a JSON string escapes what a passage says (quotes, line ends), so it cannot hold it word for word",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        schema = self.settings.json_schema
        self._grammar = json_grammar(
            read_schema(Path(schema)) if isinstance(schema, str) else schema,
            self.settings.whitespace,
            one_of_as_any_of=self.settings.one_of_as_any_of,
        )

    def start(self, request: Request, vocab_size: int) -> ConstraintSession:
        """Begin a parse.

        Raises:
            InputError: Nothing tells the bytes of the tokens.
            RunError: The schema is too complex for the parser.
        """
        from ragdecode.decoding.grammar.session import GrammarSession

        if request.vocabulary is None:
            raise InputError(
                "constraint json: it reads tokens as bytes, and this request has no vocabulary",
                hint="give the request `vocabulary`",
            )
        return GrammarSession("json", self._grammar, request.vocabulary, vocab_size, request.end_tokens)
