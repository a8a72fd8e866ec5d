"""SWIFT's search for the sub-layers to leave out, while text is generated."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ragdecode.decoding.skipping.surrogate import Surrogate, swapped

#: In every so many tries the surrogate proposes once, and the best set is measured anew once; else random swaps.
_ROUND = 25


class SkipSearch:
    """Looks for the set of sub-layers whose omission changes the fewest predictions.

    The matchness of a set is the share of the latest generated tokens that the model predicts, as its most
    probable, when the set is left out. Tries are swaps in the best set, and now and then what a Gaussian process
    over all measurements proposes. Different texts have different matchness: before a try takes the place of the
    best set, both are measured on the same text.

    The search ends when the best set is good enough, after too many tries without gain, or after all tries. What it
    costs is bounded by tokens: each generated token allows for so many fed ones.

    Source: SWIFT (Xia et al., arXiv 2410.06916, ICLR 2025). The surrogate and the comparison on the same text are
    ours.

    Args:
        parts: The sub-layers that may be left out.
        start: The set to begin with; its size stays.
        enough: Matchness at which the search ends.
        patience: Tries without gain after which it ends.
        tries: Tries after which it ends in any case; 0 keeps the start.
        budget: Tokens that it may feed for each generated token.

    Attributes:
        best: The best set so far.
        score: Its matchness, as last measured; None before that.
        tried: Tries so far.
        fed: Tokens that the tries fed.
    """

    def __init__(
        self,
        parts: Sequence[int],
        start: frozenset[int],
        *,
        enough: float = 0.95,
        patience: int = 300,
        tries: int = 1000,
        budget: float = 4.0,
    ) -> None:
        self.best = start
        self.score: float | None = None
        self.tried = 0
        self.fed = 0
        self._parts = list(parts)
        self._enough = enough
        self._patience = patience
        self._tries = tries
        self._budget = budget
        self._allowed = 0.0
        self._idle = 0
        self._rng = random.Random(0)  # noqa: S311 - not for secrets
        self._surrogate = Surrogate(self._parts)

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        good = self.score is not None and self.score >= self._enough
        return good or self._idle >= self._patience or self.tried >= self._tries

    def generated(self, tokens: int) -> None:
        """So many tokens more were generated; the budget grows."""
        self._allowed += self._budget * tokens

    def affords(self, tokens: int) -> bool:
        """Whether a try over so many tokens is wanted and within the budget."""
        return not self.done and self.fed + tokens <= self._allowed

    def candidate(self) -> frozenset[int]:
        """The set to try next."""
        place = self.tried % _ROUND
        if self.score is None or place == _ROUND // 2:
            return self.best  # what it scored on a text of long ago must not keep others out
        if place == _ROUND - 1:
            return self._surrogate.propose(self.best, self._rng)
        return swapped(self.best, self._parts, self._rng)

    def rivals(self, chosen: frozenset[int], score: float) -> bool:
        """Whether a try seems better than the best set, which is then to be measured on the same text."""
        return self.score is not None and chosen != self.best and score > self.score

    def tell(self, chosen: frozenset[int], score: float, tokens: int) -> None:
        """What a try over so many tokens found."""
        self.tried += 1
        self._measured(chosen, score, tokens)
        if chosen == self.best:
            self.score = score
        elif self.score is not None and score > self.score:
            self.best, self.score, self._idle = chosen, score, 0
            return
        self._idle += 1

    def measure_best(self, score: float, tokens: int) -> None:
        """The best set on another text, beside a try."""
        self._measured(self.best, score, tokens)
        self.score = score

    def _measured(self, chosen: frozenset[int], score: float, tokens: int) -> None:
        self.fed += tokens
        self._surrogate.add(chosen, score, tokens)
