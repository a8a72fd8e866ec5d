"""A request as OpenAI's clients make it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragdecode.pipeline.question import AnswerSettings
from ragdecode.service.bodies import Name, Text
from ragdecode.service.problem import Problem

#: Fields that are of no effect here, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
Stop = Annotated[Text, StringConstraints(min_length=1, max_length=100)]


class _Open(BaseModel):
    """An object of a client's: keys that are unknown here are passed over."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, allow_inf_nan=False)


class ContentPart(_Open):
    """A piece of a message."""

    type: str
    """``text``."""
    text: Text = ""
    """The text."""


class ChatMessage(_Open):
    """A message."""

    role: Literal["system", "developer", "user", "assistant"]
    """Whose it is."""
    content: Text | list[ContentPart]
    """What it says."""

    def turn(self) -> dict[str, str]:
        """The message as the history holds it.

        Raises:
            Problem: A piece of it is no text.
        """
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return {"role": role, "content": self.content}
        if other := [part.type for part in self.content if part.type != "text"]:
            raise Problem(422, "unsupported", f"a message has {other[0][:80]!r}", hint="text is all that is read")
        return {"role": role, "content": "\n".join(part.text for part in self.content)}


class StreamOptions(_Open):
    """What a stream has."""

    include_usage: bool | None = None
    """Tell the tokens used at the end."""


class Chat(_Open):
    """A request for a completion."""

    model: Name
    """Name of a pipeline."""
    messages: list[ChatMessage] = Field(min_length=1)
    """The conversation, oldest first; the last one is the user's."""
    stream: bool | None = None
    """Answer with server-sent events."""
    stream_options: StreamOptions | None = None
    """What the stream has."""
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    """Longest answer, in tokens; the pipeline's is the most."""
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    """The same under its newer name."""
    temperature: float | None = Field(default=None, ge=0, le=10)
    """0 takes the most probable token."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the smallest set of tokens with this mass."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of the noise."""
    stop: Stop | list[Stop] | None = None
    """Texts that end the answer."""

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to tell the tokens used."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def turns(self) -> list[dict[str, str]]:
        """The messages.

        Raises:
            Problem: The request asks for what no pipeline does.
        """
        for name, value in (self.model_extra or {}).items():
            if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
                raise Problem(422, "unsupported", f"{name} is of no effect here", hint="leave it out")
        return [message.turn() for message in self.messages]

    def settings(self) -> AnswerSettings:
        """What it says of its answer."""
        longest = self.max_completion_tokens or self.max_tokens
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return AnswerSettings(longest, self.temperature, self.top_p, self.seed, stop[:8])
