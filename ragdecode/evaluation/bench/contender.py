"""What takes part in a benchmark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

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
        peak_memory_mb: Highest memory of the process (of the device, on an accelerator) meanwhile; None if unknown.
    """

    tokens: tuple[int, ...]
    committed: int
    steps: int
    first_token_seconds: float
    seconds: float
    peak_memory_mb: float | None = None


class Contender(ABC):
    """A way of decoding a request."""

    @abstractmethod
    def prepare(self, request: DecodeRequest) -> None:
        """Refuse a request that cannot be decoded, and load what is needed for it.

        Raises:
            InputError: It does not fit.
        """

    @abstractmethod
    def run(self, request: DecodeRequest, max_new_tokens: int | None = None) -> Run:
        """Decode one request alone; at most ``max_new_tokens`` tokens, the pipeline's own limit if left out."""
