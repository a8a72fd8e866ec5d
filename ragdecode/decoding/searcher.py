"""The contract of searches: which continuations of an answer are decoded, and which of them becomes the answer.

A search sees sentences and their scores, never tokens' probabilities. It says what is to be decoded next, round by
round; the engine decodes a round's branches in one batch and stops each of them as soon as it has one judged
sentence more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.monitor import Judged
    from ragdecode.decoding.request import FinishReason
    from ragdecode.decoding.rule import Company


@dataclass(frozen=True)
class Found:
    """A branch that has come to rest.

    Attributes:
        branch: Names it; the engine's own.
        tokens: Its tokens, those of the branch that it began with included.
        sentences: What its monitor has judged, in order.
        ended: Why it ended by itself; None if it can go on.
    """

    branch: int
    tokens: Sequence[int]
    sentences: Sequence[Judged]
    ended: FinishReason | None = None


@dataclass(frozen=True)
class Draw:
    """A branch that is to be decoded until it has one judged sentence more, or ends.

    Attributes:
        name: Keys its sampling noise; unique in the search.
        after: Where it begins; None is the empty answer.
        keep: Tokens of ``after`` that it begins with; all of them if None.
        sampling: Fields of the sampling that are changed for it.
        limit: Tokens it may draw; one that has no judged sentence by then comes to rest all the same.
        same: It is ``after`` itself that goes on, nothing is copied; name and sampling stay as they were.
    """

    name: str
    after: Found | None = None
    keep: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    same: bool = False


@dataclass(frozen=True)
class Round:
    """What is to be done next.

    Attributes:
        draws: Branches that are decoded together.
        held: Branches that may become the answer later; others that no draw begins with are forgotten.
        settled: A branch, and how many of its first tokens stand in whatever becomes the answer: they are shown.
    """

    draws: Sequence[Draw]
    held: Sequence[Found] = ()
    settled: tuple[Found, int] | None = None


@dataclass(frozen=True)
class Choice:
    """The end of a search.

    Attributes:
        found: The branch that becomes the answer.
        keep: How many of its tokens.
        reason: Why the answer ends there.
        record: What goes into the answer's record: plain JSON data.
        closing: Text that is said after these tokens.
        notes: What a user should know.
    """

    found: Found
    keep: int
    reason: FinishReason
    record: Mapping[str, Any]
    closing: str = ""
    notes: Sequence[str] = ()


#: Yields rounds and is sent what their draws found, in their order.
Steps = Generator[Round, Sequence[Found], Choice]


class Search(ABC):
    """A search as declared.

    Attributes:
        branches: The most branches that it decodes together.
        samplings: Every change of the sampling that its draws ask for.
        by: Name of the monitor whose scores it reads; the first one that scores if empty.
    """

    branches: int = 1
    samplings: Sequence[Mapping[str, Any]] = ()
    by: str = ""

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def check(self, company: Company) -> None:  # noqa: B027
        """Look at what acts beside it: asked when a document is read, and of every request.

        Raises:
            InputError: The search does not go with it.
        """

    @abstractmethod
    def run(self) -> Steps:
        """The search of one request: what it yields is decoded, and it is told what was found."""
