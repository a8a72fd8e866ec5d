"""The contract of aligners: how far passages support a sentence, and where they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.spec.model import ModelSpec


@dataclass(frozen=True)
class EvidenceSpan:
    """Where a passage supports a sentence.

    Attributes:
        passage: Which passage, counted from 0.
        start: Offset of the first character in the passage.
        end: Offset after the last.
    """

    passage: int
    start: int
    end: int


@dataclass(frozen=True)
class Alignment:
    """How the evidence supports one sentence.

    Attributes:
        score: Support from 0 to 1; None where there is nothing to compare, such as a sentence without a word.
        parts: What the score is made of, by name.
        passage: The passage that supports it best, counted from 0; None where none does.
        spans: Where passages support it, the best passage's first.
    """

    score: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    passage: int | None = None
    spans: Sequence[EvidenceSpan] = ()

    @property
    def passages(self) -> tuple[int, ...]:
        """The passages that support it, the best first, each once."""
        return tuple(dict.fromkeys(span.passage for span in self.spans))


class AlignerSession(ABC):
    """An aligner that has read the passages of one request."""

    @abstractmethod
    def align(self, sentence: str) -> Alignment:
        """How far the passages support a sentence."""


class Aligner(ABC):
    """An aligner as declared.

    Attributes:
        label: What its score is, for people and records: ``lexical_support``, or the kind of model that judged.
        models: Models that it asks, by the name under which `Request.resources` holds them: of an encoder a callable
            from n texts to vectors of length 1 ``[n, D]``, of an entailment model one from n pairs (premise,
            hypothesis) to probabilities ``[n]``. None is any encoder that is at hand; there may be none.
    """

    label: ClassVar[str] = ""
    models: Mapping[str, ModelSpec | None] = {}

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    @abstractmethod
    def start(self, passages: Sequence[str], resources: Mapping[str, Any]) -> AlignerSession:
        """Read the passages of a request.

        Args:
            passages: Their texts, in the order of the request.
            resources: What `models` asks for, by name.
        """

    def align(self, sentence: str, passages: Sequence[str], resources: Mapping[str, Any] | None = None) -> Alignment:
        """How far passages support one sentence; for more than one, `start` reads the passages once."""
        return self.start(passages, resources or {}).align(sentence)
