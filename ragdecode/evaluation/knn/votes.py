"""What model and neighbours gave to each token of texts, and what became of the two when they were mixed.

Shapes: M tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mixed(
    lm: NDArray[np.float64], votes: NDArray[np.float64], weight: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """``log((1 - weight) exp(lm) + weight exp(votes))``; the model's own to the last bit at weight 0 ``[M]``.

    Args:
        lm: Log-probability of each token under the model ``[M]``.
        votes: The same under the neighbours, minus infinity where none votes for it ``[M]``.
        weight: Of the votes, from 0 to below 1 ``[M]``, or one for all.
    """
    with np.errstate(divide="ignore"):
        both = np.logaddexp(np.log1p(-np.asarray(weight)) + lm, np.log(weight) + votes)
    return np.where(np.asarray(weight) > 0, both, lm)


@dataclass(frozen=True)
class TokenVotes:
    """Tokens of texts, one array a figure ``[M]``.

    Attributes:
        gold: The token that stands there.
        text: Number of the text that it is of.
        place: Its place in that text, from 0 on.
        lm: Its log-probability under the model, in nats.
        lm_entropy: Entropy of what the model predicted there, in nats.
        votes: Its probability under the neighbours; 0 where none votes for it.
        entropy: Entropy of the neighbours' votes over tokens, in nats.
        spread: Entropy of the neighbours' shares, in nats.
        nearest: Squared distance of the nearest neighbour.
        sources: Documents that vote: ``exp`` of the entropy of the votes over documents.
        weight: Weight of the votes (lambda).
    """

    gold: NDArray[np.int64]
    text: NDArray[np.int64]
    place: NDArray[np.int64]
    lm: NDArray[np.float64]
    lm_entropy: NDArray[np.float64]
    votes: NDArray[np.float64]
    entropy: NDArray[np.float64]
    spread: NDArray[np.float64]
    nearest: NDArray[np.float64]
    sources: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.gold)

    @staticmethod
    def joined(parts: Sequence[TokenVotes]) -> TokenVotes:
        """Several as one, in their order."""
        return TokenVotes(
            *(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(TokenVotes))
        )  # fmt: skip

    @cached_property
    def mixed(self) -> NDArray[np.float64]:
        """Log-probability of each token under the mixture ``[M]``; that of the model to the last bit at weight 0."""
        with np.errstate(divide="ignore"):
            return mixed(self.lm, np.log(self.votes), self.weight)

    @cached_property
    def gain(self) -> NDArray[np.float64]:
        """What each token won by the votes, in nats ``[M]``: above 0 exactly where ``votes > exp(lm)``."""
        return self.mixed - self.lm

    @cached_property
    def best(self) -> NDArray[np.float64]:
        """The best of model, neighbours and mixture for each token ``[M]``: what no gate could surpass."""
        with np.errstate(divide="ignore"):
            return np.maximum(np.maximum(self.lm, self.mixed), np.log(self.votes))
