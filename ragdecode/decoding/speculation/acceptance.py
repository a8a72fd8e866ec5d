"""How often guesses are accepted, counted as text is generated: what makes scores of different drafters comparable.

A trial is a fed node whose parent was on the accepted path; it is a hit if the node is on it too. That is just the
factor by which a path's probability grows with its last node (sheet 1.8). Only counts are kept, never text.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

#: How a guess stands beside those of other drafters under the same parent: nobody else guessed, another one
#: guessed the same token, or others guessed other tokens only.
ALONE, AGREED, CONTESTED = range(3)

_LEAST, _MOST = 0.002, 0.995


class Guess(NamedTuple):
    """What one drafter says of one node.

    Attributes:
        source: The drafter.
        kind: Its class of guess; see `Draft.classes`.
        claim: The drafter's own estimate that the node is accepted once its parent is, 0 to 1.
    """

    source: str
    kind: int
    claim: float


def kind_of(claim: float) -> int:
    """The class of a guess whose drafter names none: a tenth of its claimed probability, below 0."""
    return -1 - min(9, int(claim * 10))


class _Counts:
    """Trials and hits by key, older ones counting less."""

    def __init__(self, memory: float) -> None:
        self._keep = 1 - 1 / memory
        self._counts: dict[Hashable, tuple[float, float]] = {}

    def get(self, key: Hashable) -> tuple[float, float]:
        return self._counts.get(key, (0.0, 0.0))

    def add(self, key: Hashable, trials: float, hits: float) -> None:
        old, won = self._counts.get(key, (0.0, 0.0))
        self._counts[key] = old * self._keep + trials, won * self._keep + hits


class Acceptance:
    """Acceptance by source, class and standing, for as long as an engine lives; its requests share it.

    A class starts at what the drafter claims, which weighs as much as ``weight`` trials; within a class each
    standing starts at the class's own rate. Only speed follows from it, and it is the same for the same requests.

    Args:
        memory: Trials after which an old one counts 1/e.
        weight: Trials that a starting value is worth.
    """

    def __init__(self, memory: float = 400.0, weight: float = 2.0) -> None:
        self._weight = weight
        self._classes = _Counts(memory)
        self._standings = _Counts(memory)

    def rate(self, guess: Guess, standing: int = ALONE) -> float:
        """Estimated probability that such a guess is accepted once its parent is."""
        trials, hits = self._classes.get(guess[:2])
        pooled = (hits + max(guess.claim, 0.05) * self._weight) / (trials + self._weight)
        trials, hits = self._standings.get((*guess[:2], standing))
        return (hits + pooled * 2 * self._weight) / (trials + 2 * self._weight)

    def trials(self, guess: Guess) -> float:
        """How often the class was tried, older trials counting less."""
        return self._classes.get(guess[:2])[0]

    def count(self, guess: Guess, standing: int, hit: bool) -> None:
        """Add one trial."""
        self._classes.add(guess[:2], 1.0, float(hit))
        self._standings.add((*guess[:2], standing), 1.0, float(hit))


class AnswerAcceptance:
    """What one answer's own trials add: how much better or worse than usual it takes a source's guesses.

    An answer that quotes accepts what another one does not. So the hits of a source in this answer are held against
    those that the common table expected, and their ratio scales all classes of the source. It is learnt from few
    trials, and starts at 1.

    Args:
        common: The engine's table.
        memory: Trials after which an old one counts 1/e.
        weight: Expected hits that the starting ratio of 1 is worth.
    """

    def __init__(self, common: Acceptance, memory: float = 48.0, weight: float = 4.0) -> None:
        self.common = common
        self._weight = weight
        self._sources = _Counts(memory)  # expected hits in the place of trials

    def rate(self, guesses: Sequence[Guess], standing: int = ALONE) -> float:
        """Estimated probability that a node is accepted once its parent is; of several sources, the best estimate.

        Drafters copy from the same texts, so that their agreement is no independent evidence, and a noisy-or of
        them would promise too much. What agreement is worth is counted instead: it is a standing of its own.
        """
        return min(_MOST, max(_LEAST, *(self._own(guess, standing) for guess in guesses)))

    def count(self, guesses: Sequence[Guess], standing: int, hit: bool) -> None:
        """Add one trial of a node, for each of its sources."""
        for guess in guesses:
            self._sources.add(guess.source, self.common.rate(guess, standing), float(hit))
            self.common.count(guess, standing, hit)

    def trials(self, guesses: Sequence[Guess]) -> float:
        """How often the least tried class of a node was tried."""
        return min(self.common.trials(guess) for guess in guesses)

    def _own(self, guess: Guess, standing: int) -> float:
        expected, hits = self._sources.get(guess.source)
        return self.common.rate(guess, standing) * (hits + self._weight) / (expected + self._weight)
