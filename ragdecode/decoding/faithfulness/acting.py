"""What is done about a sentence that the evidence does not support: ``on_unfaithful``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from ragdecode.decoding.faithfulness.verdict import Verdict
from ragdecode.decoding.monitor import Action, Flag, Stop

#: What YAML may say.
OnUnfaithful = Literal["flag", "stop"]


class Reaction(ABC):
    """Answers to verdicts during one request; the monitor asks it once a sentence, in order."""

    @abstractmethod
    def react(self, verdict: Verdict) -> Action | None:
        """What to do about a sentence below the threshold; None to do nothing."""

    def rewind(self, length: int) -> None:  # noqa: B027
        """The answer went back to its first ``length`` tokens; verdicts behind them are void."""


class Flagging(Reaction):
    """Say so, and go on."""

    def react(self, verdict: Verdict) -> Action:
        """An event for people and programs."""
        return Flag(detail(verdict))


class Stopping(Reaction):
    """End the answer before the sentence."""

    def react(self, verdict: Verdict) -> Action:
        """What stays are the sentences before."""
        return Stop(verdict.tokens.start, detail(verdict))


def reaction(asked: OnUnfaithful) -> Reaction:
    """The reaction that YAML asks for, at the beginning of a request."""
    return Stopping() if asked == "stop" else Flagging()


def detail(verdict: Verdict) -> dict[str, object]:
    """What an action event says about the sentence."""
    return {
        "sentence": verdict.index,
        "text": verdict.text,
        "start": verdict.start,
        "end": verdict.stop,
        "faithfulness": verdict.score,
    }
