"""Learns the gate of kNN-LM: how much a memory is worth at a token, told before it is asked.

He, Neubig and Berg-Kirkpatrick, "Efficient Nearest Neighbor Language Models", arXiv 2109.04212: the loss is
``-log(w_lm p_lm(y) + w_knn p_knn(y)) + 0.05 mean(w_knn)``; Adam at 5e-4, 64 tokens a step, 10 passes, on nine tenths of
the tokens; of the passes, the one is kept that does best on the other tenth. Shapes: M tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ragdecode.decoding.knn.gate import Gate
from ragdecode.evaluation.knn.resampling import stretches
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.knn.asked import Asked
    from ragdecode.evaluation.knn.fitting import GateTraining

_PENALTY, _RATE, _BATCH, _PASSES, _FOLD = 0.05, 5e-4, 64, 10, 10


def follow_counts(values: NDArray[np.integer], starts: NDArray[np.integer], vocab_size: int) -> tuple[Any, Any]:
    """How often each token stands in a memory, and how many different tokens follow it, as ``log(1 + n)`` ``[V]``.

    Args:
        values: The token of each entry, document after document ``[E]``.
        starts: First entry of each document, and one beyond the last ``[D + 1]``.
        vocab_size: Tokens (V).
    """
    frequency = np.bincount(values, minlength=vocab_size)[:vocab_size]
    inside = np.ones(max(0, len(values) - 1), bool)
    borders = np.asarray(starts[1:-1], np.int64) - 1
    inside[borders[(borders >= 0) & (borders < len(inside))]] = False
    pairs = np.asarray(values[:-1], np.int64)[inside] * vocab_size + np.asarray(values[1:], np.int64)[inside]
    fertility = np.bincount(np.unique(pairs) // vocab_size, minlength=vocab_size)[:vocab_size]
    return np.log1p(frequency), np.log1p(fertility)


def train(own: Asked, votes: NDArray[np.float64], how: GateTraining, progress: Progress = silent) -> Gate:
    """Learn a gate.

    Args:
        own: The tokens.
        votes: Log-probability of each under the neighbours ``[M]``.
        how: Counts of the memory, and the settings.
        progress: Told what is done.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(how.seed)
        return _train(own, votes, how, progress)


def _train(own: Asked, votes: NDArray[np.float64], how: GateTraining, progress: Progress) -> Gate:
    gate = Gate(own.states.shape[1], len(how.frequency))
    gate.frequency.copy_(torch.from_numpy(how.frequency))
    gate.fertility.copy_(torch.from_numpy(how.fertility))
    rows = _features(gate, own)
    lm, other = torch.from_numpy(own.lm).float(), torch.from_numpy(votes).float()
    kept = torch.from_numpy(stretches(own.text, own.place) % _FOLD == _FOLD - 1)
    if not kept.any():
        kept[-1] = True
    learnt = torch.nonzero(~kept)[:, 0]
    gate.mean.copy_(rows[learnt].mean(dim=0))
    gate.scale.copy_(rows[learnt].std(dim=0).nan_to_num(1.0).clamp(min=1e-6))
    optimizer = torch.optim.Adam(gate.parameters(), lr=_RATE)
    best, state = np.inf, copy.deepcopy(gate.state_dict())
    for number in range(_PASSES):
        gate.train()
        for batch in learnt[torch.randperm(len(learnt))].split(_BATCH):
            optimizer.zero_grad()
            _loss(gate(rows[batch]), lm[batch], other[batch]).backward()
            optimizer.step()
        gate.eval()
        with torch.no_grad():
            now = float(_loss(gate(rows[kept]), lm[kept], other[kept]))
        if now < best:
            best, state = now, copy.deepcopy(gate.state_dict())
        progress("learning the gate", number + 1, _PASSES)
    gate.load_state_dict(state)
    gate.eval()
    if how.spare > 0:
        gate.floor.fill_(float(np.quantile(weights(gate, own), how.spare)))
    return gate


def _loss(found: torch.Tensor, lm: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
    both = torch.logaddexp(found[:, 0] + lm, found[:, 1] + votes)
    return -both.mean() + _PENALTY * found[:, 1].exp().mean()


def weights(gate: Gate, own: Asked) -> NDArray[np.float64]:
    """Weight of the memory at tokens, as `Gate.weight` gives it ``[M]``."""
    told: NDArray[np.float64] = gate.weight_of(_features(gate, own)).double().numpy()
    return told


def _features(gate: Gate, own: Asked) -> torch.Tensor:
    """The features of `Gate.features`, from what was kept of its inputs ``[M, W + 4]``."""
    return gate.joined(*(torch.from_numpy(one) for one in (own.states, own.entropy, own.top, own.last)))
