"""Say that a sentence is unfaithful, and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragdecode.decoding.faithfulness.reaction import Reaction, ReactionSession, detail
from ragdecode.decoding.monitor import Action, Flag
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request


@register("reaction", "flag")
class FlagIt(Reaction, ReactionSession):
    """Says so, and goes on."""

    only_flags = True

    def start(self, request: Request) -> ReactionSession:
        """Itself: it remembers nothing."""
        return self

    def react(self, verdict: Verdict) -> Action:
        """An event for people and programs."""
        return Flag(detail(verdict))
