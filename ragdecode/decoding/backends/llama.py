"""Our own forward pass for Llama-shaped models: all rows' tokens through the linear layers in one go, no padding.

Shapes: T new tokens of all rows together, n of one row, S cached positions of a row, H hidden size, D head size,
Q query heads, K key/value heads, G = Q / K query heads a key head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from ragdecode.decoding.backend import Output, Segment
from ragdecode.decoding.backends.linear import LinearMode, choose
from ragdecode.decoding.backends.llama_shape import LlamaShape, unsupported
from ragdecode.decoding.backends.llama_weights import LlamaWeights
from ragdecode.decoding.backends.tree_mask import additive_mask
from ragdecode.errors import InputError, RunError

#: From this many new tokens on, grouped query heads share one mask instead of being folded into rows.
_FOLD_BELOW = 64


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

    Raises:
        InputError: The model is not of a supported shape; the message says why.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        linear: LinearMode = "auto",
    ) -> None:
        reason = unsupported(config)
        if reason is not None:
            raise InputError(f"the llama backend cannot run this model: {reason}", hint="use engine.backend: auto")
        self.shape = LlamaShape.from_config(config)
        self.vocab_size = self.shape.vocab_size
        self.hidden_size = self.shape.hidden_size
        self.max_positions = self.shape.max_positions
        self.layers = self.shape.layers
        self.token_bytes = 2 * self.shape.layers * self.shape.kv_heads * self.shape.head_dim * dtype.itemsize
        self.device = torch.device(device)
        self.dtype = dtype
        self._weights = LlamaWeights(self.shape, weights, self.device, dtype, choose(linear, self.device, dtype))
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
        self, segments: Sequence[Segment], *, hidden: bool = False, skip: frozenset[int] = frozenset()
    ) -> Output:
        """Run the model once over the new tokens of all segments; see `Backend.forward`."""
        spans = _Spans(segments, self._rows, self.shape, self.device, self.dtype)
        ids = torch.tensor([token for segment in segments for token in segment.tokens], device=self.device)
        weights = self._weights
        rotation = weights.rotations[spans.positions].unsqueeze(1)  # [T, 1, D / 2] complex
        x = weights.embedding[ids]  # [T, H]
        for part in range(2 * self.layers):
            if part not in skip:
                x = self._part(part, x, rotation, spans)
        x = x[spans.outputs]  # [M, H]
        states = functional.rms_norm(x, (self.hidden_size,), weights.final_norm, self.shape.norm_eps)
        return Output(weights.unembed(states), states if hidden else None)

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """The states ``[n, H]`` that n tokens enter the first layer with."""
        return self._weights.embedding[torch.tensor(tokens, device=self.device)]

    @torch.inference_mode()
    def run_part(self, part: int, row: int, base: int, states: torch.Tensor) -> torch.Tensor:
        """Run one sub-layer over alternative states of one token; see `LayeredBackend.run_part`."""
        count = len(states)
        alternatives = Segment(row, base, [0] * count, [0] * count, [-1] * count, ())
        spans = _Spans([alternatives], self._rows, self.shape, self.device, self.dtype)
        return self._part(part, states, self._weights.rotations[spans.positions].unsqueeze(1), spans)

    def _part(self, part: int, x: torch.Tensor, rotation: torch.Tensor, spans: _Spans) -> torch.Tensor:
        """One sub-layer: the residual stream ``x [T, H]`` before it to that after it."""
        layer = self._weights.layers[part // 2]
        if part % 2 == 0:
            normed = functional.rms_norm(x, (self.hidden_size,), layer.attention_norm, self.shape.norm_eps)
            heads = layer.qkv(normed).view(len(x), -1, self.shape.head_dim)  # [T, Q + 2 K, D]
            return x + layer.output(self._attend(part // 2, heads, rotation, layer.qk_norm, spans))
        normed = functional.rms_norm(x, (self.hidden_size,), layer.mlp_norm, self.shape.norm_eps)
        gate, up = layer.gate_up(normed).chunk(2, dim=-1)  # each [T, F]
        return x + layer.down(functional.silu(gate) * up)

    def _attend(
        self,
        layer: int,
        heads: torch.Tensor,
        rotation: torch.Tensor,
        qk_norm: tuple[torch.Tensor, torch.Tensor] | None,
        spans: _Spans,
    ) -> torch.Tensor:
        """Attention of every row over its own cache; ``heads [T, Q + 2 K, D]`` to ``[T, Q D]``."""
        q, k, d = self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        if qk_norm is not None:
            heads = _normalise_heads(heads, q, k, qk_norm, self.shape.norm_eps)
        _rotate(heads[:, : q + k], rotation)
        results = []
        for start, stop, base, buffer, mask in spans.rows:
            n, used = stop - start, base + stop - start
            cache = buffer[layer]  # [2 K, capacity, D]
            cache[:, base:used] = heads[start:stop, q:].transpose(0, 1)
            keys, values = cache[:k, :used].unsqueeze(0), cache[k:, :used].unsqueeze(0)  # [1, K, S + n, D]
            query = heads[start:stop, :q]  # [n, Q, D]
            if n < _FOLD_BELOW:
                # [n, K, G, D] -> [1, K, G n, D]: the query heads of a key head become rows, keys are read once
                folded = query.view(n, k, q // k, d).permute(1, 2, 0, 3).reshape(1, k, -1, d)
                out = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
                out = out.view(k, q // k, n, d).permute(2, 0, 1, 3)
            else:
                out = functional.scaled_dot_product_attention(
                    query.transpose(0, 1).unsqueeze(0), keys, values, attn_mask=mask, enable_gqa=q != k
                )
                out = out.squeeze(0).transpose(0, 1)
            results.append(out.reshape(n, q * d))
        return results[0] if len(results) == 1 else torch.cat(results)


class _Spans:
    """Where each row's new tokens lie in the flat batch, with their masks; built once a pass."""

    def __init__(
        self,
        segments: Sequence[Segment],
        buffers: Mapping[int, torch.Tensor],
        shape: LlamaShape,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.rows: list[tuple[int, int, int, torch.Tensor, torch.Tensor | None]] = []
        positions: list[int] = []
        outputs: list[int] = []
        start = 0
        for segment in segments:
            n = len(segment.tokens)
            buffer = buffers[segment.row]
            if segment.base + n > buffer.shape[2]:
                raise ValueError(f"row of {buffer.shape[2]} slots cannot take {n} tokens after {segment.base}")
            mask = None if n == 1 and segment.seen is None else additive_mask(segment, device, dtype)
            if mask is not None and n < _FOLD_BELOW:
                mask = mask.repeat(shape.heads // shape.kv_heads, 1)  # [G n, S + n]
            self.rows.append((start, start + n, segment.base, buffer, mask))
            positions += [segment.start + depth for depth in segment.depths]
            outputs += [start + index for index in segment.outputs]
            start += n
        self.positions = torch.tensor(positions, device=device)  # [T]
        self.outputs = torch.tensor(outputs, dtype=torch.long, device=device)  # [M]


def _rotate(heads: torch.Tensor, rotation: torch.Tensor) -> None:
    """Rotate interleaved pairs in place: ``heads [T, Q + K, D]`` by ``rotation [T, 1, D / 2]`` complex."""
    if heads.dtype in (torch.float32, torch.float64):
        torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(rotation)
    else:
        pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
        heads.copy_(torch.view_as_real(pairs * rotation).flatten(-2))


def _normalise_heads(
    heads: torch.Tensor, q: int, k: int, weights: tuple[torch.Tensor, torch.Tensor], eps: float
) -> torch.Tensor:
    """RMS-normalise queries and keys per head (Qwen3); values stay."""
    width = (heads.shape[-1],)
    queries = functional.rms_norm(heads[:, :q], width, weights[0], eps)
    keys = functional.rms_norm(heads[:, q : q + k], width, weights[1], eps)
    return torch.cat([queries, keys, heads[:, q + k :]], dim=1)
