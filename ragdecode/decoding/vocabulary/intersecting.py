"""Drafting by the tokens that a draft model's vocabulary shares with the target's."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.candidates import Candidates
from ragdecode.decoding.speculation.expansion import Expander
from ragdecode.decoding.speculation.growing import GrowingSession
from ragdecode.decoding.vocabulary.shared import SharedTokens
from ragdecode.decoding.vocabulary.translation import Translation

if TYPE_CHECKING:
    import torch


class IntersectingSession(GrowingSession):
    """A tree in the target's tokens, grown by a model with another vocabulary.

    The expander knows the target's tokens only: what it asks is put into the draft model's tokens, what the model
    answers is restricted to the shared ones. Noise and draws are therefore those of the target's tokens.

    Args:
        expander: Grows the tree; coupled.
        shared: The shared tokens.
        translation: The answer in the draft model's tokens.
        vocab_size: Tokens of the target (V).
    """

    def __init__(self, expander: Expander, shared: SharedTokens, translation: Translation, vocab_size: int) -> None:
        self._expander = expander
        self._shared = shared
        self._translation = translation
        self._vocab_size = vocab_size
        self._generated = 0
        self._grown = False

    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """Grow; nodes of a base that the draft model lacks are kept as they are, nothing is grown below them."""
        answer = self._translation.ids
        self._grown = answer is not None and self._shared.size > 0
        if answer is None or not self._grown:
            return base or Draft()
        known = None if base is None else self._known(base)
        growing = self._expander.grow(nodes, self._generated, base=known, answer=answer)
        try:
            look = next(growing)
            while True:
                asked = replace(look.draft, tokens=self._shared.to_draft(look.draft.tokens))
                log_probs = yield replace(look, draft=asked, answer=answer)
                look = growing.send(self._shared.restrict(log_probs, self._vocab_size))
        except StopIteration as done:
            grown: Draft = done.value
        if base is None or known is None or len(known.tokens) == len(base.tokens):
            return grown
        found = Candidates()
        found.take_in(grown)
        found.take_in(base)
        return found.draft(found.best(nodes))

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """As the expander does; what the draft model lacks, or what stands below it, cannot be judged."""
        if not self._grown:
            return [None] * len(draft.tokens)
        told = self._expander.judge(draft)
        return [verdict if token in self._shared else None for token, verdict in zip(draft.tokens, told, strict=True)]

    def observe(self, verified: Verified) -> None:
        """The answer goes on."""
        self._generated += len(verified.committed)
        self._translation.extend(verified.committed)
        self._expander.observe(verified)

    def rewind(self, length: int) -> None:
        """Back to the first ``length`` tokens."""
        self._generated = length
        self._translation.rewind(length)
        self._expander.rewind(length)

    def _known(self, base: Draft) -> Draft:
        """The part of a draft that the draft model has the tokens for."""
        found = Candidates()
        numbers = {-1: 0}
        for index, (token, parent, score) in enumerate(zip(base.tokens, base.parents, base.scores, strict=True)):
            if parent in numbers and token in self._shared:
                kind = base.classes[index] if base.classes else 0
                source = base.sources[index] if base.sources else ""
                numbers[index] = found.add(numbers[parent], token, score, kind, source)
        return found.draft(range(1, len(found.tokens)))
