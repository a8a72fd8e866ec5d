"""What takes part in a benchmark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragdecode.pipeline.request import DecodeRequest


@dataclass(frozen=True)
class Run:
    """One answer of one contender.

    Attributes:
        tokens: Ids of the answer, without end tokens.
        committed: Tokens that those passes committed, an end token included.
        steps: Passes of the target model that committed tokens.
        first_token_seconds: From the start until the first token was known.
        seconds: From the start to the end, prefill included.
        drafted: Draft tokens that were verified; None if the contender does not tell.
        sources: Tokens that each drafter ``proposed``, and how many of them were ``accepted``.
    """

    tokens: tuple[int, ...]
    committed: int
    steps: int
    first_token_seconds: float
    seconds: float
    drafted: int | None = None
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What a contender did when its turn came: one answer, or several that were decoded together.

    Attributes:
        runs: The answers, in the order of the requests; their seconds count from the start of the turn.
        seconds: From the start to the end of the last answer.
        decoded: Tokens that came once every answer had its first.
        decode_seconds: From then to the end.
        peak_memory_mb: Highest memory of the process (of the device, on an accelerator) meanwhile; None if unknown.
    """

    runs: Sequence[Run]
    seconds: float
    decoded: int
    decode_seconds: float
    peak_memory_mb: float | None = None

    @staticmethod
    def alone(run: Run) -> Turn:
        """The turn of one answer."""
        return Turn([run], run.seconds, max(len(run.tokens) - 1, 0), run.seconds - run.first_token_seconds)

    @property
    def tokens(self) -> int:
        """New tokens of all its answers."""
        return sum(len(run.tokens) for run in self.runs)


class Contender(ABC):
    """A way of decoding requests.

    Attributes:
        alone: Whether it decodes one request at a time only.
        note: What should be known about it beside its figures; empty if nothing.
    """

    alone: bool = False
    note: str = ""

    @abstractmethod
    def prepare(self, request: DecodeRequest) -> None:
        """Refuse a request that cannot be decoded, and load what is needed for it.

        Raises:
            InputError: It does not fit.
        """

    @abstractmethod
    def turn(self, requests: Sequence[DecodeRequest], max_new_tokens: int | None = None) -> Turn:
        """Decode requests together; at most ``max_new_tokens`` tokens each, the pipeline's own limit if left out."""

    def run(self, request: DecodeRequest, max_new_tokens: int | None = None) -> Run:
        """Decode one request alone."""
        return self.turn([request], max_new_tokens).runs[0]
