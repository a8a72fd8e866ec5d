"""What early blocks of the target predict, for rules that compare them with the last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ragdecode.decoding.backend import Backend
from ragdecode.decoding.rule import EarlyLayer


class EarlyStates:
    """The target after one block at N nodes; what is projected to the whole vocabulary is computed once.

    Args:
        backend: The target's model.
        states: Residual stream ``[N, H]``.
        vocab_size: Tokens that count (V).
    """

    def __init__(self, backend: Backend, states: torch.Tensor, vocab_size: int) -> None:
        self.states = states
        self.backend = backend
        self._vocab_size = vocab_size
        self._log_probs: dict[bool, torch.Tensor] = {}

    def log_probs(self, *, normed: bool = True) -> torch.Tensor:
        """Log-probabilities ``[N, V]``; without the final norm if not ``normed``."""
        if normed not in self._log_probs:
            self.take(self.backend.project(self.states, normed=normed), normed=normed)
        return self._log_probs[normed]

    def knows(self, normed: bool) -> bool:
        """Whether these log-probabilities were computed."""
        return normed in self._log_probs

    def take(self, logits: torch.Tensor, *, normed: bool) -> None:
        """Keep what was projected ``[N, V]``, padding included."""
        self._log_probs[normed] = torch.log_softmax(_wide(logits[:, : self._vocab_size]), dim=-1)

    def logits(self, columns: torch.Tensor, *, normed: bool = True) -> torch.Tensor:
        """Logits ``[N, C]`` of the token ids ``columns [N, C]`` alone."""
        return _wide(self.backend.project(self.states, columns, normed=normed))


def read_together(layers: Sequence[EarlyLayer], *, normed: bool = True) -> list[torch.Tensor]:
    """Log-probabilities ``[N, V]`` of each of some layers, by one product, so that the head's weights are read once."""
    unread = [layer for layer in layers if isinstance(layer, EarlyStates) and not layer.knows(normed)]
    if len(unread) > 1:
        logits = unread[0].backend.project(torch.cat([layer.states for layer in unread]), normed=normed)
        for layer, own in zip(unread, logits.split([len(layer.states) for layer in unread]), strict=True):
            layer.take(own, normed=normed)
    return [layer.log_probs(normed=normed) for layer in layers]


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype is torch.float64 else logits.float()
