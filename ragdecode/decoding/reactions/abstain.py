"""Say that the evidence does not hold the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.faithfulness.reaction import Reaction, ReactionSession, detail
from ragdecode.decoding.monitor import Abstain, Action
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Company


class AbstainSettings(Settings):
    """Settings of abstaining."""

    text: str = Field(default="The passages do not hold the answer.", min_length=1)
    """What is said in the place of the answer."""
    keep: bool = False
    """Whether the sentences before the unfaithful one stay, with the text behind them."""


@register("reaction", "abstain", AbstainSettings)
class AbstainThen(Reaction, ReactionSession):
    """Takes the answer back and says that the evidence does not hold it; also where there is no evidence."""

    def check(self, company: Company) -> None:
        """Refuse to break what a program reads.

        Raises:
            InputError: The answer must be JSON, which the text is not.
        """
        if any(part.part_name == "json" for part in company.constraints):
            raise InputError(
                "abstaining says a text, and the constraint json promises JSON",
                hint="set on_unfaithful to flag or stop, or leave the constraint out",
            )

    def start(self, request: Request) -> ReactionSession:
        """Itself: it remembers nothing."""
        return self

    def react(self, verdict: Verdict) -> Action:
        """The text in the place of the answer, or of the sentence and what would come behind it."""
        kept = verdict.tokens.start if self.settings.keep else 0
        return Abstain(self.settings.text, kept, detail(verdict))

    def without_evidence(self, verdict: Verdict) -> Action:
        """There is nothing that could hold the answer."""
        return self.react(verdict)
