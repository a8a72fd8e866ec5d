"""Greedy decoding and teacher forcing of one prompt, with the attention of heads at every token told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch

from ragdecode.decoding.backend import Backend, Segment

#: Prompt tokens a pass reads.
_CHUNK = 512

Heads = Sequence[tuple[int, int]]


def watch_greedy(
    backend: Backend, prompt: Sequence[int], heads: Heads, limit: int, ends: Collection[int], vocab_size: int
) -> tuple[list[int], torch.Tensor]:
    """Decode greedily, one token a pass.

    Args:
        backend: The model; its interventions have ``attention``.
        prompt: Token ids.
        heads: Pairs of layer and query head.
        limit: Longest answer.
        ends: Tokens that end it; not part of it.
        vocab_size: Tokens that count (V).

    Returns:
        The m tokens, and the attention over the prompt ``[m, K, S]`` where each of them was predicted.
    """
    tokens: list[int] = []
    tables = [torch.empty(0, len(heads), len(prompt))]
    with _read(backend, prompt, limit) as row:
        token = prompt[-1]
        for base in range(len(prompt) - 1, len(prompt) - 1 + limit):
            out = backend.forward([Segment(row, base, [token], [0], None, [0], watch=heads)])
            token = int(out.logits[0, :vocab_size].argmax())
            if token in ends:
                break
            tokens.append(token)
            tables.append(_over(out.attention[0], len(prompt)))
    return tokens, torch.cat([table.float().cpu() for table in tables])


def watch_forced(
    backend: Backend, prompt: Sequence[int], answer: Sequence[int], heads: Heads
) -> tuple[torch.Tensor, torch.Tensor]:
    """Have the model read a given answer of m tokens.

    Returns:
        The attention over the prompt ``[m, K, S]`` where each of them is predicted, and the logits there ``[m, V]``.
    """
    with _read(backend, prompt, len(answer)) as row:
        tokens = [prompt[-1], *answer[:-1]]
        segment = Segment(row, len(prompt) - 1, tokens, range(len(tokens)), None, range(len(tokens)), watch=heads)
        out = backend.forward([segment])
    return _over(out.attention[0], len(prompt)).float().cpu(), out.logits


def _over(attention: torch.Tensor | None, prompt: int) -> torch.Tensor:
    """The prompt's part of attention ``[m, K, S + n]``."""
    assert attention is not None
    return attention[:, :, :prompt]


@contextmanager
def _read(backend: Backend, prompt: Sequence[int], room: int) -> Iterator[int]:
    """A row that has read a prompt but for its last token."""
    row = backend.open_row(len(prompt) + room)
    try:
        for base in range(0, len(prompt) - 1, _CHUNK):
            part = prompt[base : min(base + _CHUNK, len(prompt) - 1)]
            backend.forward([Segment(row, base, part, range(len(part)), None, ())])
        yield row
    finally:
        backend.close_row(row)
