"""What the engine tells while it works, in order, for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.request import Result, TokenRecord


@dataclass(frozen=True)
class Event:
    """Something that happened to a request."""

    request: str


@dataclass(frozen=True)
class TokenEvent(Event):
    """A token was committed. ``text`` is what became printable with it; it may be empty or span tokens."""

    record: TokenRecord
    text: str


@dataclass(frozen=True)
class TextEvent(Event):
    """Text that was held back (an unfinished character, a possible stop string) became printable."""

    text: str


@dataclass(frozen=True)
class ActionEvent(Event):
    """A monitor acted: ``flag``, ``stop``, ``rewind`` or ``retrieve``."""

    monitor: str
    action: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class RetractEvent(Event):
    """Text already shown is withdrawn: the answer's text is again its first ``characters`` characters."""

    tokens: int
    characters: int


@dataclass(frozen=True)
class DoneEvent(Event):
    """The request is finished."""

    result: Result
