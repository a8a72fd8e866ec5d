"""Secrets: read from the environment, never shown."""

from __future__ import annotations

import os
import re
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import core_schema

#: ``${ENV:NAME}``, the whole value.
ENV = re.compile(r"\$\{ENV:([A-Za-z_][A-Za-z0-9_]*)\}")
#: Anything that looks like an attempt at it.
ENV_LIKE = re.compile(r"\$\{\s*(ENV|env)\b")


class Secret(SecretStr):
    """A secret that shows as the mark it was written with, ``${ENV:NAME}``, wherever it is printed or dumped.

    Attributes:
        mark: What is shown in its place.
    """

    def __init__(self, secret_value: str, mark: str = "**********") -> None:
        super().__init__(secret_value)
        self.mark = mark

    def _display(self) -> str:
        return self.mark

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: secret.mark),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "description": "A secret, as ${ENV:NAME}.", "examples": ["${ENV:TOKEN}"]}

    @classmethod
    def _validate(cls, value: Any) -> Secret:
        if isinstance(value, cls):
            return value
        if isinstance(value, SecretStr):
            return cls(value.get_secret_value())
        if isinstance(value, str):
            mark = ENV.fullmatch(value)  # as a dumped one reads: the secret itself is in the environment
            return cls(os.environ.get(mark[1], ""), value) if mark else cls(value)
        raise ValueError("expected text, best as ${ENV:NAME}")
