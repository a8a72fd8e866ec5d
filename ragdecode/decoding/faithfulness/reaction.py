"""The contract of reactions: what is done about a sentence that the evidence does not support, ``on_unfaithful``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.decoding.monitor import Action
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Company


class ReactionSession(ABC):
    """A reaction at work for one request; the monitor asks it once a sentence, in order.

    Attributes:
        only_flags: Whether all it does is to flag.
    """

    only_flags: ClassVar[bool] = False

    @abstractmethod
    def react(self, verdict: Verdict) -> Action:
        """What to do about a sentence below the threshold."""

    def passed(self, verdict: Verdict) -> Action | None:
        """What to do after a sentence that is not below it, while the answer goes on."""
        return None

    def without_evidence(self, verdict: Verdict) -> Action | None:
        """What to do about a sentence for which there is no evidence at all; None to do nothing."""
        return None

    def rewind(self, length: int) -> None:  # noqa: B027
        """The answer went back to its first ``length`` tokens; verdicts behind them are void."""

    def fork(self) -> ReactionSession:
        """One that knows the same and goes its own way from here on; itself if it remembers nothing."""
        return self


class Reaction(ABC):
    """A reaction as declared: a part, ``@register("reaction", NAME, Settings)`` in ``decoding/reactions``.

    Attributes:
        retrieves: Whether it looks for more evidence, which takes a pipeline that can.
    """

    retrieves: bool = False

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def check(self, company: Company) -> None:  # noqa: B027
        """Look at what acts beside it: asked when a document is read.

        Raises:
            InputError: It does not go with that.
        """

    @abstractmethod
    def start(self, request: Request) -> ReactionSession:
        """Begin a request."""


def detail(verdict: Verdict) -> dict[str, object]:
    """What an action event says about the sentence."""
    return {
        "sentence": verdict.index,
        "text": verdict.text,
        "start": verdict.start,
        "end": verdict.stop,
        "faithfulness": verdict.score,
    }
