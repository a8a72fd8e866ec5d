"""What drafting needs to know of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Codec(Protocol):
    """A tokenizer as bytes in, ids out."""

    @property
    def tokens(self) -> Sequence[bytes | None]:
        """The bytes that each id writes in the middle of a text; None for control tokens and unused ids [V]."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text that continues another one: nothing is put before it, control tokens are plain text."""
