"""Chats with which stages ask the language model for something: Jinja templates, rendered in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from ragdecode.errors import InputError
from ragdecode.spec.settings import Settings

_FOLDER = Path(__file__).parent / "prompts"
#: what templates may use, with values to try them on
_SAMPLE: Mapping[str, Any] = {"question": "x", "history": [{"role": "user", "content": "x"}], "n": 2}


class ChatMessage(Settings):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str = Field(min_length=1)
    """Jinja template."""


#: A setting: a chat in the place of a built-in one; annotate it with what its templates `uses`.
Chat = Annotated[tuple[ChatMessage, ...], Field(min_length=1)] | None


def uses(*variables: str) -> AfterValidator:
    """Refuses a chat whose templates cannot be filled with these variables, or that leaves nothing to answer."""

    def check(messages: tuple[ChatMessage, ...] | None) -> tuple[ChatMessage, ...] | None:
        if messages is None:
            return None
        if messages[-1].role != "user":
            raise ValueError("the last message must be the user's: it is the one that is answered")
        try:
            filler(messages)(**{name: _SAMPLE[name] for name in variables})
        except InputError as error:
            raise ValueError(f"{error.message}; there are {', '.join(variables)}") from error
        return messages

    return AfterValidator(check)


def filler(messages: Sequence[ChatMessage]) -> Callable[..., tuple[tuple[str, str], ...]]:
    """A function that fills the templates: values by name to (role, content) pairs.

    Raises:
        InputError: A template has an error; from the function: it cannot be filled with these values.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    try:
        templates = [(message.role, environment.from_string(message.content)) for message in messages]
    except TemplateError as error:
        raise InputError(f"not a Jinja template: {error}") from error

    def fill(**values: Any) -> tuple[tuple[str, str], ...]:
        try:
            return tuple((role, template.render(values).strip()) for role, template in templates)
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            raise InputError(f"the template cannot be filled: {error}") from error

    return fill


@cache
def built_in(name: str) -> tuple[ChatMessage, ...]:
    """The chat in ``prompts/NAME.yaml``."""
    from ragdecode.spec.node import Source, to_plain
    from ragdecode.spec.yaml_tree import parse

    file = _FOLDER / f"{name}.yaml"
    node = parse(file.read_text(encoding="utf-8"), Source(file.name, _FOLDER, _FOLDER))
    return TypeAdapter(tuple[ChatMessage, ...]).validate_python(to_plain(node))
