"""What a pipeline tells while it answers: passages first, then text, sentences and actions, then the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ragdecode.decoding.request import TokenRecord
from ragdecode.pipeline.answer import Answer, Sentence
from ragdecode.pipeline.passage import Passage


@dataclass(frozen=True)
class Event(ABC):
    """Something that happened to an answer.

    Attributes:
        kind: Name of the event, the same in every interface.
    """

    kind: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        """The event as plain data, its kind under ``event``."""
        return {"event": self.kind, **self._data()}

    @abstractmethod
    def _data(self) -> dict[str, Any]:
        """What the event tells, as plain data."""


@dataclass(frozen=True)
class PassagesEvent(Event):
    """The evidence; always the first event."""

    kind: ClassVar[str] = "passages"
    passages: tuple[Passage, ...]

    def _data(self) -> dict[str, Any]:
        return {"passages": [passage.to_json() for passage in self.passages]}


@dataclass(frozen=True)
class TokenEvent(Event):
    """More text. The pieces join to the answer, unless some were retracted.

    Attributes:
        text: The piece; may be empty while a character or a stop string is unfinished.
        record: The token it came with; None where text that was held back became printable.
    """

    kind: ClassVar[str] = "token"
    text: str
    record: TokenRecord | None = None

    def _data(self) -> dict[str, Any]:
        token = {} if self.record is None else {"token": self.record.token, "logprob": self.record.logprob}
        return {"text": self.text, **token}


@dataclass(frozen=True)
class RetractEvent(Event):
    """Text already shown is withdrawn: the answer is again its first ``characters`` characters."""

    kind: ClassVar[str] = "retract"
    characters: int

    def _data(self) -> dict[str, Any]:
        return {"characters": self.characters}


@dataclass(frozen=True)
class ActionEvent(Event):
    """A monitor acted: ``flag``, ``stop``, ``abstain``, ``rewind`` or ``retrieve``."""

    kind: ClassVar[str] = "action"
    monitor: str
    action: str
    detail: Mapping[str, Any]

    def _data(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "action": self.action, "detail": dict(self.detail)}


@dataclass(frozen=True)
class SentenceEvent(Event):
    """A sentence of the answer is complete; a later `RetractEvent` before its end withdraws it.

    Attributes:
        sentence: The sentence.
        cited: Where citations are to be printed: the answer from the end of the sentence before to the end of this
            one, with the numbers of its passages behind it. These pieces join to the cited answer, but for blanks at
            its end.
    """

    kind: ClassVar[str] = "sentence"
    sentence: Sentence
    cited: str | None = None

    def _data(self) -> dict[str, Any]:
        return {"sentence": self.sentence.to_json()} | ({} if self.cited is None else {"cited": self.cited})


@dataclass(frozen=True)
class DoneEvent(Event):
    """The final record; always the last event."""

    kind: ClassVar[str] = "done"
    answer: Answer

    def _data(self) -> dict[str, Any]:
        return {"answer": self.answer.to_json()}
