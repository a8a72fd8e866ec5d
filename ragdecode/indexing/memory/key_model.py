"""What builds a memory: the language model whose tokens are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: vector of the last block that is kept: what enters its feed-forward part, after the norm; what the block gives,
#: before the final norm; what the language model head reads
Key = Literal["ffn_input", "block_output", "final"]


class KeyModel(Protocol):
    """A language model that tells vectors of its last block. Weights are loaded when they are needed."""

    @property
    def fingerprint(self) -> str:
        """Identity of weights and tokenizer."""
        ...

    @property
    def dtype(self) -> str:
        """Precision in which it computes."""
        ...

    @property
    def max_positions(self) -> int:
        """Longest text that it can read, in tokens."""
        ...

    @property
    def hidden_size(self) -> int:
        """Expected width of a vector, told without loading weights."""
        ...

    def width(self, key: Key) -> int:
        """Width of the vectors.

        Raises:
            InputError: The model does not tell them.
        """
        ...

    def vectors(self, texts: Sequence[Sequence[int]], first: Sequence[int], key: Key) -> NDArray[np.float32]:
        """Vectors of texts read in one pass, from place ``first[i]`` of each on, one after the other ``[n, W]``.

        Args:
            texts: Token ids.
            first: One a text.
            key: Which vector.
        """
        ...
