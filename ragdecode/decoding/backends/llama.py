"""Our own forward pass for Llama-shaped models: all rows' tokens through the linear layers in one go, no padding.

Shapes: T new tokens of all rows together, n of one row, S cached positions of a row, H hidden size, D head size,
Q query heads, K key/value heads, G = Q / K query heads a key head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from ragdecode.decoding.backend import Output, Segment
from ragdecode.decoding.backends.linear import LinearMode, choose, low_bit
from ragdecode.decoding.backends.llama_attention import Spans, attend, normalise_heads, rotate
from ragdecode.decoding.backends.llama_shape import LlamaShape, unsupported
from ragdecode.decoding.backends.llama_weights import LlamaWeights
from ragdecode.errors import InputError, RunError


class LlamaBackend:
    """A Llama-shaped causal language model with one key-value buffer a row.

    A row's buffer is ``[layers, 2 K, capacity, D]``: keys of all heads, then values, written in place. Rotary
    pairs are interleaved (the query and key weights are permuted once), which leaves every dot product unchanged
    and makes the rotation one complex multiplication.

    Args:
        config: The model's ``config.json``.
        weights: Its tensors by the names transformers gives them; read once, not kept.
        device: Where to run.
        dtype: Dtype of weights and cache.
        linear: How linear layers run; see `ragdecode.decoding.backends.linear`.
        light: Keep a second copy of the linear layers in 4 bits, for passes that need not be exact.
        fingerprint: Identity of its attention heads, for lists of heads.

    Raises:
        InputError: The model is not of a supported shape; the message says why.
    """

    grafts = True
    interventions = frozenset({"heads", "exit", "attention"})

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        linear: LinearMode = "auto",
        light: bool = False,
        fingerprint: str = "",
    ) -> None:
        reason = unsupported(config)
        if reason is not None:
            raise InputError(f"the llama backend cannot run this model: {reason}", hint="use engine.backend: auto")
        self.shape = LlamaShape.from_config(config)
        self.vocab_size = self.shape.vocab_size
        self.hidden_size = self.shape.hidden_size
        self.max_positions = self.shape.max_positions
        self.layers = self.blocks = self.shape.layers
        self.heads = self.shape.heads
        self.taps: Mapping[str, int] = dict.fromkeys(("ffn_input", "block_output", "final"), self.shape.hidden_size)
        self.fingerprint = fingerprint
        self.token_bytes = 2 * self.shape.layers * self.shape.kv_heads * self.shape.head_dim * dtype.itemsize
        self.device = torch.device(device)
        self.dtype = dtype
        self.light = light
        self._weights = LlamaWeights(self.shape, weights, self.device, dtype, choose(linear, self.device, dtype))
        self._light = self._weights
        if light:
            self._light = LlamaWeights(self.shape, weights, self.device, dtype, low_bit(self.device), self._weights)
        self._rows: dict[int, torch.Tensor] = {}
        self._next_row = 0

    @staticmethod
    def supports(config: Mapping[str, Any]) -> str | None:
        """Why this backend cannot run a model, or None if it can."""
        return unsupported(config)

    def open_row(self, capacity: int) -> int:
        """Reserve a row of ``capacity`` slots.

        Raises:
            RunError: There is no memory for it.
        """
        shape = (self.shape.layers, 2 * self.shape.kv_heads, capacity, self.shape.head_dim)
        try:
            buffer = torch.empty(shape, dtype=self.dtype, device=self.device)
        except (RuntimeError, MemoryError) as error:
            raise RunError(
                f"no memory for a cache row of {capacity} tokens", hint="lower engine.max_batch or shorten the prompt"
            ) from error
        self._next_row += 1
        self._rows[self._next_row] = buffer
        return self._next_row

    def close_row(self, row: int) -> None:
        """Free a row."""
        del self._rows[row]

    def keep(self, row: int, base: int, offsets: Sequence[int]) -> None:
        """Move the entries at ``base + offsets[k]`` to ``base + k``; a prefix that is in place already is skipped."""
        first = next((k for k, offset in enumerate(offsets) if offset != k), len(offsets))
        if first == len(offsets):
            return
        buffer = self._rows[row]
        source = torch.tensor([base + offset for offset in offsets[first:]], device=self.device)
        # index_select copies before anything is written, so that overlapping moves are safe
        buffer[:, :, base + first : base + len(offsets)] = buffer.index_select(2, source)

    def save_prefix(self, row: int, length: int) -> torch.Tensor:
        """The first ``length`` entries of a row ``[layers, 2 K, length, D]``, copied."""
        return self._rows[row][:, :, :length].clone()

    def load_prefix(self, row: int, saved: torch.Tensor, length: int) -> None:
        """Put the first ``length`` entries of a saved prefix at the beginning of a row."""
        self._rows[row][:, :, :length] = saved[:, :, :length]

    @torch.inference_mode()
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
        """Run the model once over the new tokens of all segments; see `Backend.forward`."""
        spans = Spans(segments, self._rows, self.shape, self.device, self.dtype)
        ids = torch.tensor([token for segment in segments for token in segment.tokens], device=self.device)
        weights = self._light if light else self._weights
        rotation = weights.rotations[spans.positions].unsqueeze(1)  # [T, 1, D / 2] complex
        x = weights.embedding[ids]  # [T, H]
        last = 2 * self.layers - 2
        early: dict[int, torch.Tensor] = {}
        for part in range(last):
            if part not in skip:
                x = self._part(weights, part, x, rotation, spans)
            if part % 2 and part // 2 in states:
                early[part // 2] = x[spans.outputs]
        x = x[spans.outputs] if last in skip else self._part(weights, last, x, rotation, spans, spans.outputs)  # [M, H]
        told = {"ffn_input": self._norm(x, weights.layers[-1].mlp_norm)} if "ffn_input" in taps else {}
        if last + 1 not in skip and len(x):
            x = self._part(weights, last + 1, x, rotation, spans)
        if self.layers - 1 in states:
            early[self.layers - 1] = x
        normed = self._norm(x, weights.final_norm)
        told |= {name: value for name, value in (("block_output", x), ("final", normed)) if name in taps}
        table = weights.unembed(normed) if logits else x.new_empty(0, self.vocab_size)
        return Output(table, normed if hidden else None, early, spans.attention(), told)

    @torch.inference_mode()
    def project(
        self, states: torch.Tensor, columns: torch.Tensor | None = None, *, normed: bool = True
    ) -> torch.Tensor:
        """Logits ``[N, V]`` of states ``[N, H]`` after a block, or ``[N, C]`` of columns; see `Backend.project`."""
        weights = self._weights
        if normed:
            states = functional.rms_norm(states, (self.hidden_size,), weights.final_norm, self.shape.norm_eps)
        if columns is None:
            return weights.unembed(states)
        return torch.einsum("nch,nh->nc", weights.output_table[columns], states)

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """The states ``[n, H]`` that n tokens enter the first layer with."""
        return self._weights.embedding[torch.tensor(tokens, device=self.device)]

    @torch.inference_mode()
    def run_part(self, part: int, row: int, base: int, states: torch.Tensor) -> torch.Tensor:
        """Run one sub-layer over alternative states of one token; see `LayeredBackend.run_part`."""
        count = len(states)
        alternatives = Segment(row, base, [0] * count, [0] * count, [-1] * count, ())
        spans = Spans([alternatives], self._rows, self.shape, self.device, self.dtype)
        return self._part(self._weights, part, states, self._weights.rotations[spans.positions].unsqueeze(1), spans)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (self.hidden_size,), weight, self.shape.norm_eps)

    def _part(
        self,
        weights: LlamaWeights,
        part: int,
        x: torch.Tensor,
        rotation: torch.Tensor,
        spans: Spans,
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One sub-layer: the residual stream ``x [T, H]`` before it to that after it.

        With ``wanted [M]``, attention is read out at those tokens only: the answer is ``[M, H]``.
        """
        layer = weights.layers[part // 2]
        if part % 2 == 0:
            normed = functional.rms_norm(x, (self.hidden_size,), layer.attention_norm, self.shape.norm_eps)
            heads = layer.qkv(normed).view(len(x), -1, self.shape.head_dim)  # [T, Q + 2 K, D]
            if layer.qk_norm is not None:
                heads = normalise_heads(heads, self.shape, layer.qk_norm)
            rotate(heads[:, : self.shape.heads + self.shape.kv_heads], rotation)
            seen = attend(heads, spans, part // 2, self.shape, only=wanted is not None)
            return (x if wanted is None else x[wanted]) + layer.output(seen)
        normed = functional.rms_norm(x, (self.hidden_size,), layer.mlp_norm, self.shape.norm_eps)
        gate, up = layer.gate_up(normed).chunk(2, dim=-1)  # each [T, F]
        return x + layer.down(functional.silu(gate) * up)
