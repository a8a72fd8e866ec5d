"""Renders the Jinja templates of a prompt, in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn
from ragdecode.spec.prompt import PromptSpec

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

#: stands for every value when the templates' own text is looked at
_BLANK = "x"


def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


class PromptTemplate:
    """The messages of a prompt as functions of question, passages and history.

    Strings that a tokenizer would read as special tokens are neutralised in all values, so no passage and no
    question can end its own message. Text that the prompt's author wrote stays as it is.
    """

    def __init__(self, spec: PromptSpec, neutralise: Callable[[str], str]) -> None:
        self.spec = spec
        self._neutralise = neutralise

    @cached_property
    def _templates(self) -> list[Template]:
        from jinja2 import TemplateError

        environment = _environment()
        templates = []
        for place, message in enumerate(self.spec.messages):
            try:
                templates.append(environment.from_string(message.content))
            except TemplateError as error:
                raise InputError(f"the prompt's messages[{place}].content is no Jinja template: {error}") from error
        return templates

    def messages(self, question: str, passages: Sequence[Passage], history: Sequence[Turn]) -> list[dict[str, str]]:
        """The chat ``[{"role", "content"}]``; the history goes before the last message.

        Raises:
            InputError: A template fails, or uses a name that is not there.
        """
        clean = self._neutralise
        values = _values(
            clean(question),
            [
                Passage(item.id, clean(item.source), clean(item.text), item.score, item.rank, item.metadata)
                for item in passages
            ],
            [Turn(turn.role, clean(turn.content)) for turn in history],
        )
        blanks = _values(
            _BLANK,
            [Passage(_BLANK, _BLANK, _BLANK, item.score, item.rank) for item in passages],
            [Turn(turn.role, _BLANK) for turn in history],
        )
        chat = [
            {"role": message.role, "content": self._render(place, values, blanks)}
            for place, message in enumerate(self.spec.messages)
        ]
        earlier = [{"role": turn.role, "content": clean(turn.content)} for turn in history]
        return [*chat[:-1], *earlier, chat[-1]]

    def _render(self, place: int, values: dict[str, Any], blanks: dict[str, Any]) -> str:
        text = self._fill(place, values)
        clean = self._neutralise(text)
        if clean == text:
            return text
        # Either the author wrote a special token, or neighbouring values joined to one.
        author = self._fill(place, blanks)
        return text if self._neutralise(author) != author else clean

    def _fill(self, place: int, values: dict[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            return self._templates[place].render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            raise InputError(
                f"the prompt's messages[{place}].content cannot be rendered: {error}",
                hint="there are question, history and passages (text, source, rank, score; perhaps none)",
            ) from error


def _values(question: str, passages: Sequence[Passage], history: Sequence[Turn]) -> dict[str, Any]:
    return {
        "question": question,
        "passages": [
            {"text": item.text, "source": item.source, "rank": rank, "score": item.score, "id": item.id}
            for rank, item in enumerate(passages, start=1)
        ],
        "history": [{"role": turn.role, "content": turn.content} for turn in history],
    }
