"""Drafting in a draft model's own tokens; what it wrote is read again by the target's tokenizer."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.candidates import Candidates
from ragdecode.decoding.speculation.expansion import Expander
from ragdecode.decoding.speculation.growing import GrowingSession
from ragdecode.decoding.vocabulary.rewriting import rewrite
from ragdecode.decoding.vocabulary.translation import Translation
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch


class RewrittenSession(GrowingSession):
    """A tree in the draft model's tokens, written again in the target's.

    The draft model may use its whole vocabulary, but its tokens are not the target's: no noise is shared with them,
    and nothing that it draws could enter a rejection test.

    Args:
        expander: Grows the tree; not coupled.
        target: The target's vocabulary.
        draft: The draft model's.
    """

    def __init__(self, expander: Expander, target: Vocabulary, draft: Vocabulary) -> None:
        self._expander = expander
        self._target = target
        self._draft = draft
        self._answer = Translation(target, draft)
        self._generated = 0
        self._silent: torch.Tensor | None = None

    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """Grow; a base is written in the draft model's tokens, as far as those are no more than its own."""
        answer = self._answer.ids
        if answer is None:
            return base or Draft()
        growing = self._expander.grow(nodes, self._generated, base=self._translated(base), answer=answer)
        try:
            look = next(growing)
            while True:
                log_probs = yield look
                look = growing.send(self._speaking(log_probs))
        except StopIteration as done:
            grown = rewrite(done.value, self._draft, self._target, *self._answer.behind())
        found = Candidates()
        found.take_in(grown)
        if base is not None:
            found.take_in(base)
        return found.draft(found.best(nodes))

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """Nothing: the draft model's probabilities are those of other tokens."""
        return [None] * len(draft.tokens)

    def observe(self, verified: Verified) -> None:
        """The answer goes on."""
        self._generated += len(verified.committed)
        self._answer.extend(verified.committed)

    def rewind(self, length: int) -> None:
        """Back to the first ``length`` tokens."""
        self._generated = length
        self._answer.rewind(length)

    def _translated(self, base: Draft | None) -> Draft | None:
        if base is None:
            return None
        found = Candidates()
        found.take_in(rewrite(base, self._target, self._draft, *self._answer.own_behind()))
        return found.draft(found.best(len(base.tokens)))

    def _speaking(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Predictions ``[N, V']`` in which control tokens cannot come; their probability is lost, not shared out."""
        import torch

        if self._silent is None:
            silent = [id_ for id_ in range(log_probs.shape[-1]) if not self._draft.writes(id_)]
            self._silent = torch.tensor(silent, dtype=torch.long, device=log_probs.device)
        return log_probs.index_fill(1, self._silent, float("-inf"))
