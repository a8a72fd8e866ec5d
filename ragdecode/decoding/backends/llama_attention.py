"""Attention of many rows over their own caches, with the rotary positions that come before it.

Shapes: T new tokens of all rows together, n of one row, S cached positions of a row, D head size, Q query heads,
K key/value heads, G = Q / K query heads a key head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.head_access import HeadsOff, watch_head
from ragdecode.decoding.backends.llama_shape import LlamaShape
from ragdecode.decoding.backends.tree_mask import additive_mask

#: From this many new tokens on, grouped query heads share one mask instead of being folded into rows.
_FOLD_BELOW = 64
#: New tokens of a long chunk that are attended together: none of them looks at keys beyond the last of them.
_BLOCK = 128


@dataclass(frozen=True)
class Span:
    """Where one row's new tokens lie in the flat batch.

    Attributes:
        start: First of them.
        stop: One beyond the last.
        base: Slots of the row that are in use already (S).
        buffer: The row's cache ``[layers, 2 K, capacity, D]``.
        mask: Additive mask ``[n, S + n]``, ``[G n, S + n]`` where query heads are folded; None for one token.
        wanted: Which of them are wanted, counted from ``start``, ``[m]``.
        off: Heads that are switched off for some of them; None if none are.
        watch: Heads whose attention at the wanted tokens is wanted.
        seen: Takes that attention ``[m, S + n]``, by head.
    """

    start: int
    stop: int
    base: int
    buffer: torch.Tensor
    mask: torch.Tensor | None
    wanted: torch.Tensor
    off: HeadsOff | None = None
    watch: Sequence[tuple[int, int]] = ()
    seen: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def attention(self) -> torch.Tensor | None:
        """Attention ``[m, K, S + n]`` of the watched heads, once all layers ran."""
        return torch.stack([self.seen[head] for head in self.watch], dim=1) if self.watch else None


class Spans:
    """The spans of a pass, built once for all layers.

    Attributes:
        rows: One a segment.
        positions: Position of each new token ``[T]``.
        outputs: Tokens whose predictions are wanted ``[M]``.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        buffers: Mapping[int, torch.Tensor],
        shape: LlamaShape,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.rows: list[Span] = []
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
            wanted = torch.tensor(list(segment.outputs), dtype=torch.long, device=device)
            off = None if segment.mask is None else HeadsOff(segment.mask, segment.masked_from)
            self.rows.append(Span(start, start + n, segment.base, buffer, mask, wanted, off, segment.watch))
            positions += [segment.start + depth for depth in segment.depths]
            outputs += [start + index for index in segment.outputs]
            start += n
        self.positions = torch.tensor(positions, device=device)  # [T]
        self.outputs = torch.tensor(outputs, dtype=torch.long, device=device)  # [M]

    def attention(self) -> list[torch.Tensor | None]:
        """Attention ``[m, K, S + n]`` of the watched heads by segment; nothing if no segment watches any."""
        return [span.attention() for span in self.rows] if any(span.watch for span in self.rows) else []


def attend(heads: torch.Tensor, spans: Spans, layer: int, shape: LlamaShape, *, only: bool = False) -> torch.Tensor:
    """Write the new keys and values of every row and attend: ``heads [T, Q + 2 K, D]`` to ``[T, Q D]``.

    With ``only``, just the wanted tokens look: ``[M, Q D]``.
    """
    q, k, d = shape.heads, shape.kv_heads, shape.head_dim
    results = []
    for span in spans.rows:
        n, used = span.stop - span.start, span.base + span.stop - span.start
        cache = span.buffer[layer]  # [2 K, capacity, D]
        cache[:, span.base : used] = heads[span.start : span.stop, q:].transpose(0, 1)
        keys, values = cache[:k, :used].unsqueeze(0), cache[k:, :used].unsqueeze(0)  # [1, K, S + n, D]
        query = heads[span.start : span.stop, :q]  # [n, Q, D]
        if span.watch:
            for head in [one for one in span.watch if one[0] == layer]:
                span.seen[head] = _watched(query, keys[0], span, head[1])
        if span.off is not None:
            query = span.off.without_queries(query, layer)
        if n < _FOLD_BELOW:
            seen = _folded(query, keys, values, span.mask)
            seen = seen[span.wanted] if only and len(span.wanted) < n else seen
        elif not only:
            seen = _blocks(query, keys, values, span)
        elif len(span.wanted):
            assert span.mask is not None
            seen = _shared(query[span.wanted], keys, values, span.mask[span.wanted])
        else:
            continue
        if span.off is not None:
            seen = span.off.without_outputs(seen, layer, span.wanted if only else None)
        results.append(seen)
    if not results:
        return heads.new_zeros(0, q * d)
    flat = [seen.reshape(len(seen), q * d) for seen in results]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _watched(query: torch.Tensor, keys: torch.Tensor, span: Span, head: int) -> torch.Tensor:
    """Attention ``[m, S + n]`` of one head of ``query [n, Q, D]`` at the wanted tokens, over ``keys [K, S + n, D]``."""
    group = query.shape[1] // keys.shape[0]
    mask = None if span.mask is None else span.mask[: len(query)][span.wanted]  # folded heads repeat the rows
    return watch_head(query[span.wanted, head], keys[head // group], mask)


def _folded(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Few tokens ``[n, Q, D]``: the query heads of a key head become rows, so that keys are read once."""
    n, q, d = query.shape
    k = keys.shape[1]
    folded = query.view(n, k, q // k, d).permute(1, 2, 0, 3).reshape(1, k, -1, d)  # [1, K, G n, D]
    out = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
    return out.view(k, q // k, n, d).permute(2, 0, 1, 3).reshape(n, q, d)


def _blocks(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, span: Span) -> torch.Tensor:
    """Many tokens ``[n, Q, D]``, block by block: a quarter less work than one mask over all for a first chunk."""
    assert span.mask is not None
    parts = []
    for first in range(0, len(query), _BLOCK):
        stop = min(first + _BLOCK, len(query))
        used = span.base + stop  # parents come before children: nobody looks further
        mask = span.mask[first:stop, :used]
        parts.append(_shared(query[first:stop], keys[:, :, :used], values[:, :, :used], mask))
    return torch.cat(parts)


def _shared(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens ``[n, Q, D]`` under one mask ``[n, S]`` for all heads."""
    out = functional.scaled_dot_product_attention(
        query.transpose(0, 1).unsqueeze(0), keys, values, attn_mask=mask, enable_gqa=query.shape[1] != keys.shape[1]
    )
    return out.squeeze(0).transpose(0, 1)


def rotate(heads: torch.Tensor, rotation: torch.Tensor) -> None:
    """Rotate interleaved pairs in place: ``heads [T, Q + K, D]`` by ``rotation [T, 1, D / 2]`` complex."""
    if heads.dtype in (torch.float32, torch.float64):
        torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(rotation)
    else:
        pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
        heads.copy_(torch.view_as_real(pairs * rotation).flatten(-2))


def normalise_heads(heads: torch.Tensor, shape: LlamaShape, weights: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """RMS-normalise queries and keys per head (Qwen3), ``heads [T, Q + 2 K, D]``; values stay."""
    q, k, width = shape.heads, shape.kv_heads, (shape.head_dim,)
    queries = functional.rms_norm(heads[:, :q], width, weights[0], shape.norm_eps)
    keys = functional.rms_norm(heads[:, q : q + k], width, weights[1], shape.norm_eps)
    return torch.cat([queries, keys, heads[:, q + k :]], dim=1)
