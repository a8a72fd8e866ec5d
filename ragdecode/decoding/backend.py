"""The contract between the engine and a model: one forward pass over a flat list of new tokens.

A backend owns the key-value cache; the engine owns the lengths. Rolling back is therefore free (the engine
forgets a length), and only `Backend.keep` ever moves cache entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Segment:
    """New tokens of one cache row in one pass: a chain of pending tokens, then a draft tree under its last one.

    Token ``i`` goes to cache slot ``base + i`` and to position ``base + depths[i]``. It attends to the slots
    ``0 .. base - 1`` and to its ancestors among the new tokens.

    Attributes:
        row: The backend's row.
        base: Tokens that the row already holds (S).
        tokens: New token ids, parents before children [L].
        depths: Depth of each new token: 0 for the first, parent's depth + 1 for the others [L].
        parents: Index of each token's parent among the new ones, -1 for the first [L]; None if it is a chain.
        outputs: Indices of the new tokens whose logits are wanted.
    """

    row: int
    base: int
    tokens: Sequence[int]
    depths: Sequence[int]
    parents: Sequence[int] | None
    outputs: Sequence[int]


@dataclass(frozen=True)
class Output:
    """What a pass predicts, at the wanted tokens of all segments, in order.

    Attributes:
        logits: Logits ``[M, V]`` in the backend's dtype.
        hidden: Last hidden states after the final norm ``[M, H]``, if asked for.
    """

    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Backend(Protocol):
    """A causal language model with a row-wise key-value cache.

    Attributes:
        vocab_size: Columns of the logits (V), padded embedding rows included.
        hidden_size: Size of a hidden state (H).
        max_positions: Longest row the model was made for.
        layers: Number of blocks whose parts a pass may leave out; 0 if it cannot.
        device: Where tensors live.
        dtype: Dtype of the weights and of the cache.
    """

    vocab_size: int
    hidden_size: int
    max_positions: int
    layers: int
    device: torch.device
    dtype: torch.dtype

    def open_row(self, capacity: int) -> int:
        """Reserve a row of ``capacity`` slots and return its number.

        Raises:
            RunError: There is no memory for it.
        """

    def close_row(self, row: int) -> None:
        """Free a row."""

    def forward(
        self, segments: Sequence[Segment], *, hidden: bool = False, skip: frozenset[int] = frozenset()
    ) -> Output:
        """Run the model once over the new tokens of all segments (at most one segment a row).

        With ``skip``, sub-layers are left out: 2 l is the attention of layer l, 2 l + 1 its feed-forward part.
        """

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` cache entries of one row to another."""

    def keep(self, row: int, base: int, offsets: Sequence[int]) -> None:
        """Move the cache entries at ``base + offsets[k]`` to ``base + k``, in place; offsets ascend."""
