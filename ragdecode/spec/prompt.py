"""``configs/prompts/*.yaml``: a chat as Jinja templates over question, passages and history."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.settings import Settings

#: What a template may use.
VARIABLES = frozenset({"question", "passages", "history"})


class Message(Settings):
    """One message of the chat."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """Jinja template over ``question``, ``passages`` (each with ``text``, ``source``, ``rank``) and ``history``."""

    @field_validator("content")
    @classmethod
    def _is_template(cls, content: str) -> str:
        from jinja2 import Environment, TemplateSyntaxError, meta

        environment = Environment(autoescape=False)  # noqa: S701
        try:
            names = meta.find_undeclared_variables(environment.parse(content))
            environment.compile(content)  # finds unknown filters and tests
        except TemplateSyntaxError as error:
            raise ValueError(f"not a Jinja template: {error.message} (line {error.lineno} of the text)") from error
        for name in sorted(names - VARIABLES):
            raise ValueError(f"the template uses {name!r}; {did_you_mean(name, sorted(VARIABLES))}")
        return content


class PromptSpec(Settings):
    """A prompt. The view without the evidence renders the same templates with no passages."""

    description: str = ""
    """One line about the prompt."""
    messages: tuple[Message, ...] = Field(min_length=1)
    """The messages in order; with ``history`` the earlier turns go before the last one."""
    answer_prefix: str = ""
    """Text that the answer is made to start with; not part of the output."""
