"""End the answer before the unfaithful sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragdecode.decoding.faithfulness.reaction import Reaction, ReactionSession, detail
from ragdecode.decoding.monitor import Action, Stop
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request


@register("reaction", "stop")
class StopThere(Reaction, ReactionSession):
    """Ends the answer before the sentence; the sentences before it stay."""

    def start(self, request: Request) -> ReactionSession:
        """Itself: it remembers nothing."""
        return self

    def react(self, verdict: Verdict) -> Action:
        """What stays are the tokens before the sentence."""
        return Stop(verdict.tokens.start, detail(verdict))
