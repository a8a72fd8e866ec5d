"""How probable given continuations are under a model: teacher forcing, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ragdecode.decoding.backend import Backend, Segment


def continuation_log_probs(
    backend: Backend,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    vocab_size: int | None = None,
    tokens_per_pass: int = 1024,
) -> list[list[float]]:
    """Log-probability of each continuation token given its prefix and the tokens before it.

    Args:
        backend: The model.
        pairs: Prefix and continuation ids; the prefix has at least one token.
        vocab_size: Tokens of the tokenizer; columns beyond are ignored.
        tokens_per_pass: Pairs share a pass up to this many tokens.

    Returns:
        One list a pair, in order, as long as the continuation (natural logarithms).
    """
    results: list[list[float]] = [[] for _ in pairs]
    order = sorted(range(len(pairs)), key=lambda index: -len(pairs[index][0]) - len(pairs[index][1]))
    group: list[int] = []
    used = 0
    for index in order:
        length = len(pairs[index][0]) + len(pairs[index][1])
        if group and used + length > tokens_per_pass:
            _score(backend, pairs, group, results, vocab_size)
            group, used = [], 0
        group.append(index)
        used += length
    if group:
        _score(backend, pairs, group, results, vocab_size)
    return results


def _score(
    backend: Backend,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    group: Sequence[int],
    results: list[list[float]],
    vocab_size: int | None,
) -> None:
    """One pass over the pairs of a group; the last continuation token is only predicted, never fed."""
    rows: list[int] = []
    try:
        segments = []
        targets: list[int] = []
        for index in group:
            prefix, continuation = pairs[index]
            if not continuation:
                continue
            tokens = [*prefix, *continuation[:-1]]
            rows.append(backend.open_row(len(tokens)))
            outputs = range(len(prefix) - 1, len(tokens))
            segments.append(Segment(rows[-1], 0, tokens, range(len(tokens)), None, outputs))
            targets += continuation
        if not segments:
            return
        logits = backend.forward(segments).logits[:, :vocab_size]
        wide = logits if logits.dtype is torch.float64 else logits.float()
        picked = torch.log_softmax(wide, dim=-1).gather(-1, torch.tensor(targets, device=wide.device)[:, None])
        values = picked.squeeze(-1).tolist()
    finally:
        for row in rows:
            backend.close_row(row)
    start = 0
    for index in group:
        count = len(pairs[index][1])
        results[index] = values[start : start + count]
        start += count
