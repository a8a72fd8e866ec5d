"""The tokens that two vocabularies share, and predictions restricted to them (token-level intersection, TLI)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch


class SharedTokens:
    """The intersection of a target's and a draft model's vocabulary, by bytes; control tokens are in no intersection.

    Source: TLI of arXiv 2502.05202 (ICML 2025), section 4: a draft distribution that is restricted to the shared
    tokens and renormalised is accepted at least as often as over the union of the vocabularies.

    Args:
        target: The target's vocabulary.
        draft: The draft model's.

    Attributes:
        size: Number of shared tokens (K).
    """

    def __init__(self, target: Vocabulary, draft: Vocabulary) -> None:
        pairs = sorted((id_, draft.ids[text]) for text, id_ in target.ids.items() if text in draft.ids)
        self._target = [ours for ours, _ in pairs]
        self._draft = [theirs for _, theirs in pairs]
        self._to_draft = dict(pairs)
        self.size = len(pairs)
        self._on: dict[tuple[torch.device, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def __contains__(self, token: object) -> bool:
        """Whether the draft model knows a token of the target."""
        return token in self._to_draft

    def to_draft(self, tokens: Sequence[int]) -> list[int]:
        """The draft model's ids of target tokens; one that it lacks becomes an arbitrary token."""
        return [self._to_draft.get(token, self._draft[0] if self._draft else 0) for token in tokens]

    def restrict(self, log_probs: torch.Tensor, vocab_size: int) -> torch.Tensor:
        """A draft model's predictions as predictions over the target's tokens.

        Args:
            log_probs: Log-probabilities ``[N, V']`` over the draft model's vocabulary.
            vocab_size: Tokens of the target (V).

        Returns:
            Log-probabilities ``[N, V]``, renormalised over the shared tokens, ``-inf`` elsewhere.
        """
        import torch

        key = log_probs.device, log_probs.shape[-1]
        if key not in self._on:
            known = [(ours, theirs) for ours, theirs in self._to_draft.items() if theirs < key[1] and ours < vocab_size]
            self._on[key] = (
                torch.tensor([ours for ours, _ in known], dtype=torch.long, device=key[0]),
                torch.tensor([theirs for _, theirs in known], dtype=torch.long, device=key[0]),
            )
        ours, theirs = self._on[key]
        kept = log_probs[:, theirs]
        kept = kept - kept.logsumexp(dim=-1, keepdim=True)
        wide = log_probs.new_full((log_probs.shape[0], vocab_size), float("-inf"))
        return wide.index_copy_(1, ours, kept)
