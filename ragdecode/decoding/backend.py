"""The contract between the engine and a model: one forward pass over a flat list of new tokens.

A backend owns the key-value cache; the engine owns the lengths. Rolling back is therefore free (the engine
forgets a length), and only `Backend.keep` ever moves cache entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ragdecode.decoding.intervention import HeadMask

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Segment:
    """New tokens of one cache row in one pass: a chain of pending tokens, then a draft tree under its last one.

    Token ``i`` goes to cache slot ``base + i`` and to position ``start + depths[i]``. It attends to the slots
    ``0 .. start - 1`` and to its ancestors among the new tokens. ``start`` is ``base``, unless ``seen`` is given.

    Attributes:
        row: The backend's row.
        base: Tokens that the row already holds (S).
        tokens: New token ids, parents before children [L].
        depths: Depth of each new token: 0 for the first, parent's depth + 1 for the others [L].
        parents: Index of each token's parent among the new ones, -1 for the first and for what else follows the
            cached tokens alone [L]; None if it is a chain.
        outputs: Indices of the new tokens whose logits are wanted.
        seen: How many of the row's tokens the new ones follow, if not all: they are run as if the row ended there,
            and what it holds beyond stays.
        earlier: With ``seen``: parents of the tokens in the slots ``seen .. base - 1``, -1 for those that follow the
            seen ones alone. New tokens may hang below them: ``parents`` then counts these first, and -1 still means
            the seen tokens. For backends that say `Backend.grafts`.
        mask: Heads that are switched off, for backends whose `Backend.interventions` have ``heads``.
        masked_from: First of the new tokens for which they are.
        watch: Pairs of layer and query head whose attention at the wanted tokens is wanted, for backends whose
            interventions have ``attention``.
    """

    row: int
    base: int
    tokens: Sequence[int]
    depths: Sequence[int]
    parents: Sequence[int] | None
    outputs: Sequence[int]
    seen: int | None = None
    earlier: Sequence[int] = ()
    mask: HeadMask | None = None
    masked_from: int = 0
    watch: Sequence[tuple[int, int]] = ()

    @property
    def start(self) -> int:
        """Position of the first new token."""
        return self.base if self.seen is None else self.seen


@dataclass(frozen=True)
class Output:
    """What a pass predicts, at the wanted tokens of all segments, in order.

    Attributes:
        logits: Logits ``[M, V]`` in the backend's dtype; ``[0, V]`` if they were not wanted.
        hidden: Last hidden states after the final norm ``[M, H]``, if asked for.
        states: Residual stream after the blocks that were asked for ``[M, H]``, before the final norm.
        attention: One a segment: attention weights ``[m, K, S + n]`` of the K watched heads at its m wanted tokens,
            over the row's slots; None for a segment that watches none.
        taps: Vectors of the last block that were asked for ``[M, W]``, by the names of `Backend.taps`.
    """

    logits: torch.Tensor
    hidden: torch.Tensor | None = None
    states: Mapping[int, torch.Tensor] = field(default_factory=dict)
    attention: Sequence[torch.Tensor | None] = ()
    taps: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Backend(Protocol):
    """A causal language model with a row-wise key-value cache.

    Attributes:
        vocab_size: Columns of the logits (V), padded embedding rows included.
        hidden_size: Size of a hidden state (H).
        max_positions: Longest row the model was made for.
        blocks: Number of blocks of the model.
        heads: Number of query heads of a block.
        fingerprint: Identity of its attention heads, for lists of heads; empty where nobody said.
        interventions: What it can do inside a pass: ``heads`` (switch heads off, row by row), ``exit`` (tell the
            states of blocks, and project them), ``attention`` (tell the attention of heads).
        taps: Vectors of the last block that a pass can tell, and their width: ``ffn_input``, what enters its
            feed-forward part, after the norm; ``block_output``, what the block gives, before the final norm;
            ``final``, what the head reads.
        layers: Number of blocks whose parts a pass may leave out; 0 if it cannot.
        grafts: Whether segments may hang below tokens that were fed before (`Segment.earlier`).
        light: Whether it has a second copy of its weights in lower precision.
        device: Where tensors live.
        dtype: Dtype of the weights and of the cache.
    """

    vocab_size: int
    hidden_size: int
    max_positions: int
    blocks: int
    heads: int
    fingerprint: str
    interventions: frozenset[str]
    taps: Mapping[str, int]
    layers: int
    grafts: bool
    light: bool
    device: torch.device
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take."""

    def open_row(self, capacity: int) -> int:
        """Reserve a row of ``capacity`` slots and return its number.

        Raises:
            RunError: There is no memory for it.
        """

    def close_row(self, row: int) -> None:
        """Free a row."""

    def forward(
        self,
        segments: Sequence[Segment],
        *,
        hidden: bool = False,
        skip: frozenset[int] = frozenset(),
        light: bool = False,
        states: Collection[int] = (),
        taps: Collection[str] = (),
        logits: bool = True,
    ) -> Output:
        """Run the model once over the new tokens of all segments (at most one segment a row).

        With ``skip``, sub-layers are left out: 2 l is the attention of layer l, 2 l + 1 its feed-forward part.
        With ``light``, weights of lower precision are used, where the backend has them.
        With ``states``, the states after these blocks are told, for backends whose interventions have ``exit``.
        With ``taps``, vectors of the last block are told, of those that `taps` has. Without ``logits``, what only
        they need is left out.
        """

    def project(
        self, states: torch.Tensor, columns: torch.Tensor | None = None, *, normed: bool = True
    ) -> torch.Tensor:
        """What the states after a block would predict: logits ``[N, V]`` of ``states [N, H]``.

        For backends whose interventions have ``exit``. A model that scales or caps its logits does so here too.

        Args:
            states: Residual stream after a block.
            columns: Token ids ``[N, C]`` whose logits alone are wanted, ``[N, C]``.
            normed: Apply the final norm first.
        """

    def save_prefix(self, row: int, length: int) -> Any:
        """A copy of the first ``length`` cache entries of a row, which outlives it."""

    def load_prefix(self, row: int, saved: Any, length: int) -> None:
        """Put the first ``length`` entries of a saved prefix at the beginning of a row."""

    def keep(self, row: int, base: int, offsets: Sequence[int]) -> None:
        """Move the cache entries at ``base + offsets[k]`` to ``base + k``, in place; offsets ascend."""


class LayeredBackend(Backend, Protocol):
    """A backend whose sub-layers can be run one by one; every backend with ``layers`` above 0 is one."""

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """The states ``[n, H]`` that n tokens enter the first layer with."""

    def run_part(self, part: int, row: int, base: int, states: torch.Tensor) -> torch.Tensor:
        """Run one sub-layer over m states of a token that follows the row's first ``base`` tokens.

        The states are alternatives of one another: each attends to the cached tokens and to itself. The sub-layer
        is 2 l for the attention of layer l, 2 l + 1 for its feed-forward part. Its m keys and values go to the
        row's slots from ``base`` on; the row needs room for them.

        Args:
            part: The sub-layer.
            row: The backend's row.
            base: Tokens of the row that come before.
            states: Residual stream before the sub-layer ``[m, H]``.

        Returns:
            The residual stream after it ``[m, H]``.
        """
