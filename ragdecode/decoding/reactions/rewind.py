"""Drop the unfaithful sentence and decode it again, with stronger contrast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotated_types import Le, Lt
from pydantic import Field

from ragdecode.decoding.faithfulness.reaction import Reaction, ReactionSession, detail
from ragdecode.decoding.monitor import Action, Adjust, Flag, Rewind
from ragdecode.errors import InputError
from ragdecode.spec import part
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragdecode.decoding.faithfulness.verdict import Verdict
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Company, Rule


class RewindSettings(Settings):
    """Settings of rewinding."""

    factor: float = Field(default=2.0, ge=1.0, le=100.0)
    """Each try at a sentence multiplies the strength of every rule that has one (``cad.alpha``) by this; no strength
    exceeds what its rule allows."""
    tries: int = Field(default=2, ge=1, le=32)
    """How often one sentence is written again; ``decode.max_rewinds`` limits the whole answer."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """Of the sentence that is written again; the answer's own if left out."""
    then: part.Reaction = Field(default="flag", validate_default=True)
    """What is done about a sentence that is still unfaithful after all tries."""


@register("reaction", "rewind", RewindSettings)
class RewindTo(Reaction):
    """Drops the sentence and decodes it again with stronger contrast, a few times; then reacts otherwise.

    Try n at a sentence multiplies each rule's `Rule.strength` by ``factor ** n``. Once a sentence passes, or its tries
    are used up and the answer goes on, the strengths are the document's again; the word or two that were written
    before the verdict was in keep theirs. A try that could only write the same again (nothing gets stronger, and
    nothing is drawn) is not made.
    """

    def __init__(self, settings: RewindSettings) -> None:
        super().__init__(settings)
        self.then: Reaction = settings.then.build()
        self.retrieves = self.then.retrieves

    def check(self, company: Company) -> None:
        """Refuse what would write the same sentence again.

        Raises:
            InputError: No rule has a strength to raise and nothing is drawn; or the reaction that comes then does not
                go with what is there.
        """
        self.then.check(company)
        settings = self.settings
        raised = settings.factor > 1 and _strengths(company.rules)
        if not raised and settings.temperature is None and not company.sampling.temperature:
            raise InputError(
                "rewind would write the same sentence again: no rule has a strength that grows, and nothing is drawn",
                hint="add rule: cad, or set a temperature in rewind",
            )

    def start(self, request: Request) -> ReactionSession:
        """Begin a request with its rules as they are declared."""
        return _Session(self.settings, request, self.then.start(request))


class _Session(ReactionSession):
    def __init__(self, settings: Any, request: Request, then: ReactionSession) -> None:
        self._settings, self._request, self._then = settings, request, then
        self._tries: dict[int, int] = {}  # by the first token of the sentence
        self._raised = False

    def react(self, verdict: Verdict) -> Action:
        start = verdict.tokens.start
        number = self._tries.get(start, 0) + 1
        overrides = self._overrides(number)
        drawn = self._request.sampling.temperature > 0 or self._settings.temperature is not None
        if number > self._settings.tries or not (drawn or overrides != self._overrides(number - 1)):
            return self._give_up(verdict)
        self._tries[start] = number
        self._raised = True
        told = detail(verdict) | {"try": number, "overrides": overrides}
        return Rewind(start, overrides, detail=told, otherwise=lambda: self._give_up(verdict))

    def passed(self, verdict: Verdict) -> Action | None:
        if not self._raised:
            return self._then.passed(verdict)
        self._raised = False
        return Adjust(self._overrides(0))

    def without_evidence(self, verdict: Verdict) -> Action | None:
        return self._then.without_evidence(verdict)

    def rewind(self, length: int) -> None:
        self._tries = {start: count for start, count in self._tries.items() if start <= length}
        self._then.rewind(length)

    def fork(self) -> ReactionSession:
        made = _Session(self._settings, self._request, self._then.fork())
        made._tries, made._raised = dict(self._tries), self._raised
        return made

    def _give_up(self, verdict: Verdict) -> Action:
        """What comes then; an answer that goes on does so with the strengths of the document."""
        action = self._then.react(verdict)
        if isinstance(action, Flag) and self._raised:
            self._raised = False
            return Adjust(self._overrides(0), action)
        return action

    def _overrides(self, number: int) -> dict[str, Any]:
        """Settings of the n-th try; those of the document for 0."""
        settings = self._settings
        known = _strengths(self._request.rules).items()
        made = {name: min(most, value * settings.factor**number) for name, (value, most) in known}
        if settings.temperature is not None:
            made["sampling.temperature"] = settings.temperature if number else self._request.sampling.temperature
        return made


def _strengths(rules: Sequence[Rule]) -> Mapping[str, tuple[float, float]]:
    """Of the rules that have a strength above 0: its name as overrides write it, its value and the most it may be."""
    found: dict[str, tuple[float, float]] = {}
    for rule in rules:
        value = None if (name := getattr(rule, "strength", None)) is None else getattr(rule.settings, name)
        if value is None or value <= 0:
            continue
        most = float("inf")
        for bound in type(rule.settings).model_fields[name].metadata:
            if isinstance(bound, Le | Lt):
                most = float(bound.le if isinstance(bound, Le) else bound.lt)  # type: ignore[arg-type]
        found[f"{rule.part_name}.{name}"] = value, most
    return found
