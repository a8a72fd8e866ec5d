"""What a model thinks of given answers, token by token: with their evidence, without it, and in its middle layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.faithfulness.features import middle_blocks

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ragdecode.decoding.backend import Backend

#: Prompt tokens a pass reads.
_PROMPT = 512
#: Tokens of an answer a pass reads; twice as many rows of logits are held at once.
_ANSWER = 96
_FLOOR = -1e4  # as in the divergence of `decoding.signals`


@dataclass(frozen=True)
class AnswerSignals:
    """What was known when each of an answer's m tokens was predicted, and the states that they left.

    Attributes:
        probability: Of the token under the target view ``[m]``.
        entropy: Of the target view's prediction, in nats ``[m]``.
        kl: KL(target view || view without the evidence), in nats ``[m]``.
        states: Of the token itself, after each of `middle_blocks` ``[m, 3, H]``; None if the model does not tell them.
    """

    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    kl: NDArray[np.float32]
    states: NDArray[np.float16] | None


def read_answers(
    backend: Backend,
    target: Sequence[int],
    blind: Sequence[int],
    answers: Sequence[Sequence[int]],
    vocab_size: int,
) -> Iterator[AnswerSignals]:
    """Have a model read answers to one prompt, one after the other, without choosing a token of its own.

    The figures are those of the plain rule: what a monitor sees when these tokens are decoded.

    Args:
        backend: The model.
        target: The prompt with the evidence.
        blind: The prompt without it.
        answers: Token ids; each at least one.
        vocab_size: Tokens that count (V).
    """
    room = max(map(len, answers), default=0)
    blocks = middle_blocks(backend.blocks) if "exit" in backend.interventions else ()
    with _read(backend, target, room) as seen, _read(backend, blind, room) as unseen:
        for answer in answers:
            parts = []
            for start in range(0, len(answer) + 1, _ANSWER):
                # the last prompt token predicts the first of the answer; the last of the answer only leaves a state
                segments = []
                for row, prompt in ((seen, target), (unseen, blind)):
                    tokens = [prompt[-1], *answer][start : start + _ANSWER]
                    places = range(len(tokens))
                    segments.append(Segment(row, len(prompt) - 1 + start, tokens, places, None, places))
                parts.append(_part(backend, segments, answer[start : start + _ANSWER], blocks, vocab_size))
            scalars, states = (np.concatenate(column) for column in zip(*parts, strict=True))
            probability, entropy, kl = scalars[: len(answer)].T.astype(np.float32)
            yield AnswerSignals(
                probability,
                entropy,
                kl,
                states[1:].astype(np.float16) if blocks else None,
            )


def _part(
    backend: Backend, segments: Sequence[Segment], following: Sequence[int], blocks: Sequence[int], vocab_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability, entropy and divergence ``[n, 3]``, and the target's states ``[n, 3, H]``, at n tokens."""
    import torch

    count = len(segments[0].tokens)
    out = backend.forward(segments, states=frozenset(blocks))
    logits = out.logits[:, :vocab_size]
    wide = logits if logits.dtype is torch.float64 else logits.float()
    target, other = torch.log_softmax(wide, dim=-1).split(count)
    picked = torch.tensor([*following, *[0] * (count - len(following))], device=wide.device)[:, None]
    chances = target.exp()
    finite = target.clamp(min=_FLOOR)
    entropy = -(chances * finite).sum(-1)
    divergence = (chances * (finite - other.clamp(min=_FLOOR))).sum(-1)
    scalars = torch.stack([target.gather(-1, picked)[:, 0].exp(), entropy, divergence], dim=-1)
    states = torch.stack([out.states[block][:count] for block in blocks], dim=1) if blocks else scalars[:, :0]
    return _numpy(scalars), _numpy(states)


def _numpy(table: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = table.double().cpu().numpy()
    return found


@contextmanager
def _read(backend: Backend, prompt: Sequence[int], room: int) -> Iterator[int]:
    """A row that has read a prompt but for its last token."""
    row = backend.open_row(len(prompt) + room)
    try:
        for base in range(0, len(prompt) - 1, _PROMPT):
            part = prompt[base : min(base + _PROMPT, len(prompt) - 1)]
            backend.forward([Segment(row, base, part, range(len(part)), None, ())], logits=False)
        yield row
    finally:
        backend.close_row(row)
