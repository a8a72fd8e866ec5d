"""Whether two contenders wrote the same tokens, and if not, whether it was a tie.

Passes of different shapes sum in different orders, so a float32 logit moves by up to about 1e-4, and two of them
can change places where they are less than twice that apart. Such a place is a tie, counted apart; every other
divergence is a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

#: Two scores closer than this at the first divergence are a tie.
TIE = 2e-4

#: ``gap(common, mine, theirs)``: how far apart the reference scores two tokens after ``common``, its own answer's
#: beginning; a token that is None stands for the answer's end. None if it cannot tell.
Gap = Callable[[Sequence[int], int | None, int | None], float | None]


@dataclass(frozen=True)
class Divergence:
    """The first place at which two answers differ.

    Attributes:
        position: 0-based place in the answer.
        mine: The token there; None where the answer has ended.
        theirs: The reference's token there; None where it has ended.
        gap: How far apart the reference scores the two, in nats; None if that is not known.
    """

    position: int
    mine: int | None
    theirs: int | None
    gap: float | None

    @property
    def tie(self) -> bool:
        """Whether rounding can explain it."""
        return self.gap is not None and self.gap < TIE


def divergence(tokens: Sequence[int], reference: Sequence[int], gap: Gap) -> Divergence | None:
    """The first difference of two answers; None if there is none."""
    if tuple(tokens) == tuple(reference):
        return None
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(tokens, reference, strict=False))))
    mine = tokens[common] if common < len(tokens) else None
    theirs = reference[common] if common < len(reference) else None
    return Divergence(common, mine, theirs, gap(reference[:common], mine, theirs))


@dataclass
class Agreement:
    """How many answers were the same as the reference's, differed by a tie, and differed otherwise."""

    same: int = 0
    ties: int = 0
    different: int = 0

    def add(self, tokens: Sequence[int], reference: Sequence[int], gap: Gap) -> None:
        """Compare one more answer."""
        self.count(divergence(tokens, reference, gap))

    def count(self, found: Divergence | None) -> None:
        """Count one more answer that was compared already."""
        if found is None:
            self.same += 1
        elif found.tie:
            self.ties += 1
        else:
            self.different += 1

    def to_json(self) -> dict[str, int]:
        """The counts."""
        return {"same": self.same, "ties": self.ties, "different": self.different}
