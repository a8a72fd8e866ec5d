"""What the engine tells while it works, in order, for each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.request import Result, TokenRecord


@dataclass(frozen=True)
class Event:
    """Something that happened to a request."""

    request: str


@dataclass(frozen=True)
class TokenEvent(Event):
    """A token was committed and may be shown; ``text`` is what became printable with it, possibly nothing.

    A token is announced once its text can no longer turn out to be part of a stop string.
    """

    record: TokenRecord
    text: str


@dataclass(frozen=True)
class ActionEvent(Event):
    """A monitor acted: ``flag``, ``stop``, ``abstain``, ``rewind`` or ``retrieve``."""

    monitor: str
    action: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class VerdictEvent(Event):
    """A monitor judged a sentence; comes before the text that completes the sentence is shown."""

    monitor: str
    verdict: Mapping[str, Any]


@dataclass(frozen=True)
class RetractEvent(Event):
    """Text already shown is withdrawn: the answer's text is again its first ``characters`` characters."""

    tokens: int
    characters: int


@dataclass(frozen=True)
class DoneEvent(Event):
    """The request is finished."""

    result: Result


@dataclass(frozen=True)
class FailedEvent(Event):
    """The request ended without a result: one of its own parts failed, or there was no room for it.

    Other requests are not concerned. `Engine.run` raises the error.
    """

    error: Exception
