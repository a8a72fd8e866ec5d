"""What early blocks of the target predict, for rules that compare them with the last."""

from __future__ import annotations

import torch

from ragdecode.decoding.backend import Backend


class EarlyStates:
    """The target after one block at N nodes; what is projected to the whole vocabulary is computed once.

    Args:
        backend: The target's model.
        states: Residual stream ``[N, H]``.
        vocab_size: Tokens that count (V).
    """

    def __init__(self, backend: Backend, states: torch.Tensor, vocab_size: int) -> None:
        self.states = states
        self._backend = backend
        self._vocab_size = vocab_size
        self._log_probs: torch.Tensor | None = None

    def log_probs(self) -> torch.Tensor:
        """Log-probabilities ``[N, V]``."""
        if self._log_probs is None:
            logits = self._backend.project(self.states)[:, : self._vocab_size]
            wide = logits if logits.dtype is torch.float64 else logits.float()
            self._log_probs = torch.log_softmax(wide, dim=-1)
        return self._log_probs

    def logits(self, columns: torch.Tensor, *, normed: bool = True) -> torch.Tensor:
        """Logits ``[N, C]`` of the token ids ``columns [N, C]`` alone."""
        logits = self._backend.project(self.states, columns, normed=normed)
        return logits if logits.dtype is torch.float64 else logits.float()
