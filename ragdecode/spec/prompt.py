"""``configs/prompts/*.yaml``: a chat as Jinja templates over question, passages and history."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragdecode.spec.settings import Settings


class Message(Settings):
    """One message of the chat."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """Jinja template over ``question``, ``passages`` (each with ``text``, ``source``, ``rank``) and ``history``."""


class PromptSpec(Settings):
    """A prompt. The view without the evidence renders the same templates with no passages."""

    description: str = ""
    """One line about the prompt."""
    messages: tuple[Message, ...] = Field(min_length=1)
    """The messages in order; with ``history`` the earlier turns go before the last one."""
    answer_prefix: str = ""
    """Text that the answer is made to start with; not part of the output."""
