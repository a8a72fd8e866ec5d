"""Datastore: what followed the last tokens anywhere in the corpus may follow again."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, model_validator

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: name of the resource that it reads
RESOURCE = "datastore"
#: upper ends of the bins of the match's length and of the share of places, by which acceptance is counted
_LENGTHS, _SHARES = (2, 4, 8, 16), (0.3, 0.6, 0.9)
#: a share of the places is trusted to l^2 / (l^2 + 12) at the end of a match of l - 1 tokens: 0.43 of it after two,
#: 0.97 after sixteen; of what answers over the package's own pages went on with, 0.47 and 0.98
_DOUBT = 12


class Continuations(Protocol):
    """What followed a run of tokens, as a trie; parents before children."""

    @property
    def tokens(self) -> Sequence[int]:
        """Ids [n]."""
        ...

    @property
    def parents(self) -> Sequence[int]:
        """Indices into the same list, -1 for the root [n]."""
        ...

    @property
    def counts(self) -> Sequence[int]:
        """How many places go on in this way [n]."""
        ...

    @property
    def matched(self) -> int:
        """Length of the run."""
        ...

    @property
    def places(self) -> int:
        """How many places were looked at."""
        ...


class Answers(Protocol):
    """Past answers, to be searched beside a datastore."""

    def add(self, ids: Sequence[int]) -> None:
        """Take in an answer."""
        ...

    def settle(self) -> None:
        """Make what was added searchable."""
        ...


class TokenSource(Protocol):
    """A datastore of token ids: what `Request.resources` holds under ``datastore``."""

    def continuations(
        self,
        last: Sequence[int],
        *,
        longest: int,
        shortest: int,
        matches: int,
        length: int,
        nodes: int,
        beside: Any = None,
    ) -> Continuations | None:
        """What followed the longest run of last tokens that stands somewhere; None if none does."""
        ...

    def answers(self, keep: bool) -> Answers:
        """Past answers, kept in a file or in memory."""
        ...


class DatastoreSettings(Settings):
    """Settings of the datastore drafter."""

    longest: int = Field(default=16, ge=1, le=32)
    """Longest run of last tokens that is looked for."""
    shortest: int = Field(default=2, ge=1, le=32)
    """Shortest run that may match."""
    matches: int = Field(default=5000, ge=1, le=1_000_000)
    """Most places that are looked at; of more, evenly spread ones."""
    continuation: int = Field(default=10, ge=1, le=32)
    """Tokens of a continuation."""
    answers: Literal["off", "session", "file"] = "off"
    """Past answers as a further source: none, those since the pipeline was loaded, or all, in a file in the index's
    folder. Whoever can measure time can then tell whether a text was given as an answer before."""

    @model_validator(mode="after")
    def _ordered(self) -> DatastoreSettings:
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) must not be above longest ({self.longest})")
        return self


@register("drafter", "datastore", DatastoreSettings)
class Datastore(Drafter):
    """Drafts from the whole indexed corpus, and from past answers if wanted, by longest suffix match.

    Source: REST (He et al. 2024, https://arxiv.org/abs/2311.08252). Costs no forward pass; changes speed only.
    """

    resources = (RESOURCE,)

    def __init__(self, settings: DatastoreSettings) -> None:
        super().__init__(settings)
        self._answers: Answers | None = None

    def start(self, request: Request) -> DraftSession:
        """Look at the prompt's last tokens.

        Raises:
            InputError: The request brings no datastore.
        """
        from ragdecode.decoding.request import TARGET

        source: TokenSource | None = request.resources.get(RESOURCE)
        if source is None:
            raise InputError(
                "the drafter 'datastore' has nothing to draft from: the request brings no datastore",
                hint="add the store 'tokens' to the index",
            )
        if self.settings.answers != "off" and self._answers is None:
            self._answers = source.answers(keep=self.settings.answers == "file")
        if self._answers is not None:
            self._answers.settle()
        session = _Session(self.settings, source, self._answers, request.views[TARGET].prompt)
        if self._answers is not None:  # the answer is there when nobody goes on with it
            weakref.finalize(session, self._answers.add, session.answer)
        return session


class _Session(DraftSession):
    """The end of the prompt, and the answer.

    Attributes:
        answer: Accepted tokens.
    """

    def __init__(
        self, settings: DatastoreSettings, source: TokenSource, answers: Answers | None, prompt: Sequence[int]
    ) -> None:
        self._settings, self._source, self._answers = settings, source, answers
        self._prompt = list(prompt[-settings.longest :])
        self.answer: list[int] = []

    def propose(self, nodes: int) -> Draft:
        """The most frequent continuations of the longest run of last tokens."""
        settings = self._settings
        found = self._source.continuations(
            self._last(settings.longest),
            longest=settings.longest,
            shortest=settings.shortest,
            matches=settings.matches,
            length=settings.continuation,
            nodes=nodes,
            beside=self._answers,
        )
        return Draft() if found is None else _draft(found)

    def observe(self, verified: Verified) -> None:
        """Go on from what was accepted."""
        self.answer.extend(verified.committed)

    def rewind(self, length: int) -> None:
        """Forget the end of the answer."""
        del self.answer[length:]

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Take the end of the new prompt."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            self._prompt = list(prompt[-self._settings.longest :])

    def _last(self, count: int) -> list[int]:
        answer = self.answer[-count:]
        return [*self._prompt[len(self._prompt) - min(len(self._prompt), count - len(answer)) :], *answer]


def _draft(found: Continuations) -> Draft:
    """The trie with scores: shares of the places, trusted the more the longer the match has become."""
    scores: list[float] = []
    classes: list[int] = []
    lengths: list[int] = []
    for at, parent in enumerate(found.parents):
        length = 1 + (lengths[parent] if parent >= 0 else found.matched)
        share = found.counts[at] / (found.counts[parent] if parent >= 0 else found.places)
        lengths.append(length)
        scores.append((scores[parent] if parent >= 0 else 1.0) * share * length**2 / (length**2 + _DOUBT))
        classes.append(_bin(length - 1, _LENGTHS) * (len(_SHARES) + 1) + _bin(share, _SHARES))
    return Draft(found.tokens, found.parents, scores, classes=classes, matched=found.matched)


def _bin(value: float, ends: Sequence[float]) -> int:
    return next((at for at, end in enumerate(ends) if value <= end), len(ends))
