"""Look for evidence with the unfaithful sentence, and go on under what is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ragdecode.decoding.faithfulness.reaction import Reaction, ReactionSession, detail
from ragdecode.decoding.monitor import Action, Retrieve
from ragdecode.spec import part
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Company


class RetrieveSettings(Settings):
    """Settings of retrieving again."""

    query: Literal["sentence", "question_and_sentence"] = "sentence"
    """What is searched for."""
    rewrite: bool = True
    """Whether the sentence is dropped and written again under the new evidence, which counts as a rewind; else it stays
    and the answer goes on behind it."""
    times: int = Field(default=2, ge=1, le=32)
    """How often one answer may search again."""
    then: part.Reaction = Field(default="flag", validate_default=True)
    """What is done about an unfaithful sentence after that."""


@register("reaction", "retrieve", RetrieveSettings)
class RetrieveMore(Reaction):
    """Searches with the sentence, puts what is found before the known passages, and goes on; then reacts otherwise.

    Where the request cannot retrieve (its passages came with it) it reacts otherwise at once. Source: the idea of
    searching with the sentence that is doubted is FLARE's (Jiang et al., arXiv 2305.06983), which doubts by token
    probability; here the monitor's verdict decides.
    """

    retrieves = True

    def __init__(self, settings: RetrieveSettings) -> None:
        super().__init__(settings)
        self.then: Reaction = settings.then.build()

    def check(self, company: Company) -> None:
        """Ask the reaction that comes then.

        Raises:
            InputError: It does not go with what is there.
        """
        self.then.check(company)

    def start(self, request: Request) -> ReactionSession:
        """Begin a request."""
        return _Session(self.settings, request, self.then.start(request))


class _Session(ReactionSession):
    def __init__(self, settings: Any, request: Request, then: ReactionSession) -> None:
        self._settings, self._request, self._then = settings, request, then
        self._left: int = settings.times if request.retrieve is not None else 0

    def react(self, verdict: Verdict) -> Action:
        if not self._left:
            return self._then.react(verdict)
        self._left -= 1
        query = verdict.text
        if self._settings.query == "question_and_sentence" and self._request.question:
            query = f"{self._request.question} {query}"
        to = verdict.tokens.start if self._settings.rewrite else None
        return Retrieve(query, detail(verdict), to, otherwise=lambda: self._then.react(verdict))

    def passed(self, verdict: Verdict) -> Action | None:
        return self._then.passed(verdict)

    def without_evidence(self, verdict: Verdict) -> Action | None:
        return self.react(verdict) if self._left else self._then.without_evidence(verdict)

    def rewind(self, length: int) -> None:
        self._then.rewind(length)

    def fork(self) -> ReactionSession:
        made = _Session(self._settings, self._request, self._then.fork())
        made._left = self._left
        return made
