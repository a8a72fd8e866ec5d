"""Chat templates: Jinja that a model brings, rendered in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]


def render_chat_template(
    template: str, messages: Sequence[Message], *, add_generation_prompt: bool, special_tokens: Mapping[str, str]
) -> str:
    """The prompt string of a conversation, exactly as transformers' ``apply_chat_template`` writes it.

    Args:
        template: Jinja source.
        messages: ``{"role", "content"}`` mappings.
        add_generation_prompt: Open the assistant's turn at the end.
        special_tokens: ``bos_token`` and the like, visible in the template.

    Raises:
        InputError: The template is broken, or refuses these messages.
    """
    from jinja2 import TemplateError

    try:
        return (
            _environment()
            .from_string(template)
            .render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **special_tokens,
            )
        )
    except (TemplateError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"the model's chat template cannot render these messages: {error}") from error


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what the assistant wrote; here it is plain content."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, loopcontrols],
        autoescape=False,
    )
    # a template is untrusted: no class objects, no private attributes
    environment.globals["dict"] = _dict
    environment.globals["namespace"] = _namespace_class()
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _namespace_class() -> type:
    from jinja2.exceptions import SecurityError
    from jinja2.utils import Namespace

    class PublicNamespace(Namespace):
        """``namespace()`` that keeps no names with a leading underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            instance, *rest = args
            values = dict(*rest, **kwargs)
            for name in values:
                PublicNamespace._check(name)
            Namespace.__init__(instance, values)

        def __setitem__(self, name: str, value: Any) -> None:
            PublicNamespace._check(name)
            Namespace.__setitem__(self, name, value)

        @staticmethod
        def _check(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise SecurityError(f"the template may not store {name!r}")

    return PublicNamespace


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
