"""The contract of scorers: how good an answer is so far, with each of some candidate tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


class ScorerSession(ABC):
    """A scorer at work for one request.

    Its scores must depend on the tokens alone: the same path and candidate have the same score however often, and
    beside whatever others, they are asked for.

    Attributes:
        last: How many of the last tokens of a path it reads; what is done per token must not grow with the answer.
    """

    last: int = 64

    @abstractmethod
    def score(self, paths: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Sequence[Sequence[float]]:
        """Scores from 0 to 1 ``[N][k]``.

        Args:
            paths: Of N nodes, the last tokens generated up to and including each.
            candidates: Of each, k token ids of which one would come next ``[N][k]``.
        """


class Scorer(ABC):
    """A scorer as declared; makes a session a request."""

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    @abstractmethod
    def start(self, request: Request) -> ScorerSession | None:
        """Begin to score for a request; None if there is nothing to score by, such as no passages.

        `View.evidence` says where the prompts show the passages.

        Raises:
            InputError: The request lacks what it needs.
        """
