"""How answers change with the evidence: means by retriever, number of passages and whether gold was among them.

The slices are those of RAGGED (Hsia et al., 2024, https://arxiv.org/abs/2403.09040).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragdecode.evaluation.bootstrap import Interval, interval

#: all questions; those whose gold passages are all among the evidence; those that lack one
Slice = Literal["all", "found", "missed"]
SLICES: tuple[Slice, ...] = ("all", "found", "missed")


@dataclass(frozen=True)
class GradedAnswer:
    """An answer and its score.

    Attributes:
        question: Id of the question; answers to the same question are compared in pairs.
        retriever: Where the evidence comes from.
        k: Passages shown.
        found: Whether the gold passages are all among them.
        score: How good it is, in any one metric; larger is better.
    """

    question: str
    retriever: str
    k: int
    found: bool
    score: float


@dataclass(frozen=True)
class Point:
    """The mean of a slice.

    Attributes:
        retriever: Where the evidence comes from.
        k: Passages shown.
        slice: Which questions.
        interval: Their mean score; NaN if there are none.
    """

    retriever: str
    k: int
    slice: Slice
    interval: Interval


@dataclass(frozen=True)
class Step:
    """What more passages change, over the questions answered with both numbers of them.

    Attributes:
        retriever: Where the evidence comes from.
        before: Fewer passages.
        after: More passages.
        interval: Mean difference of scores, after less before.
    """

    retriever: str
    before: int
    after: int
    interval: Interval

    @property
    def helps(self) -> bool:
        """Whether the gain is beyond chance: the interval is above 0."""
        return self.interval.low > 0

    @property
    def harms(self) -> bool:
        """Whether the loss is beyond chance: the interval is below 0."""
        return self.interval.high < 0


def points(answers: Iterable[GradedAnswer]) -> list[Point]:
    """Mean score of every slice by retriever and k; retrievers in order of appearance, k rising."""
    groups: dict[tuple[str, int], list[GradedAnswer]] = defaultdict(list)
    for answer in answers:
        groups[answer.retriever, answer.k].append(answer)
    order = list(dict.fromkeys(retriever for retriever, _ in groups))
    keep: dict[Slice, Callable[[GradedAnswer], bool]] = {
        "all": lambda answer: True,
        "found": lambda answer: answer.found,
        "missed": lambda answer: not answer.found,
    }
    return [
        Point(*key, name, interval([one.score for one in groups[key] if keep[name](one)]))
        for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1]))
        for name in SLICES
    ]


def step(answers: Sequence[GradedAnswer], retriever: str, before: int, after: int) -> Step:
    """What ``after`` passages of a retriever change against ``before``, question by question."""
    scores: dict[int, dict[str, float]] = {before: {}, after: {}}
    for answer in answers:
        if answer.retriever == retriever and answer.k in scores:
            scores[answer.k][answer.question] = answer.score
    both = [question for question in scores[before] if question in scores[after]]
    return Step(
        retriever, before, after, interval([scores[after][question] - scores[before][question] for question in both])
    )


def enough(answers: Sequence[GradedAnswer], retriever: str) -> int:
    """The smallest number of passages beyond which no larger one is better by more than chance.

    With few questions this errs towards small numbers: a gain that cannot be told from chance is none.

    Raises:
        ValueError: There is no answer of this retriever.
    """
    counts = sorted({answer.k for answer in answers if answer.retriever == retriever})
    for at, k in enumerate(counts):
        if not any(step(answers, retriever, k, more).helps for more in counts[at + 1 :]):
            return k
    raise ValueError(f"there is no answer with evidence of {retriever!r}")
