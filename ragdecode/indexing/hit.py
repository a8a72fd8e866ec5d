"""A passage that was found, and how well it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragdecode.documents.passage import Passage


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage with its score.

    Attributes:
        passage: What was found.
        score: Larger is better; the scale is that of the stage that gave it.
        scores: Score by each stage or store that has seen the passage, by name.
        row: Its row in the index; None if it comes from elsewhere.
    """

    passage: Passage
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    row: int | None = None

    def rescored(self, name: str, score: float) -> Hit:
        """The same passage with the score that ``name`` gives it."""
        return replace(self, score=score, scores={**self.scores, name: score})


def ranked(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The best k, best first; equal scores in order of passage id, so that the result is always the same."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))[:k]


def best_first(hits: Sequence[Hit]) -> list[int]:
    """Places of the hits in their list, from the best score on; equal scores keep the order they are in.

    For stages that take the best, as the list may be in an order made for the reader.
    """
    return sorted(range(len(hits)), key=lambda at: -hits[at].score)
