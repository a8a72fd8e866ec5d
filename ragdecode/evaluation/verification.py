"""Whether drafts change nothing but speed: every request with and without them, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.request import Result
from ragdecode.errors import InputError
from ragdecode.evaluation.bench.agreement import Agreement, Divergence, divergence
from ragdecode.evaluation.margins import scores_at
from ragdecode.models.progress import Progress
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.decode import DecodeSpec


@dataclass(frozen=True)
class Checked:
    """One answer with drafts, held against the one without.

    Attributes:
        id: The request's id.
        together: How many requests were decoded together with drafts.
        tokens: Tokens of the answer with drafts.
        divergence: The first difference; None if there is none.
        proposed: Draft tokens that were verified.
        accepted: Draft tokens that were accepted.
        drift: Largest difference of composed log-probabilities, in nats, over the tokens that both answers share.
    """

    id: str
    together: int
    tokens: int
    divergence: Divergence | None
    proposed: int
    accepted: int
    drift: float

    @property
    def verdict(self) -> str:
        """``same``, ``tie`` or ``different``."""
        if self.divergence is None:
            return "same"
        return "tie" if self.divergence.tie else "different"


@dataclass
class Summary:
    """All answers so far.

    Attributes:
        agreement: How many were the same, ties, and different.
        proposed: Draft tokens that were verified.
        accepted: Draft tokens that were accepted.
        drift: Largest difference of composed log-probabilities, in nats.
    """

    agreement: Agreement = field(default_factory=Agreement)
    proposed: int = 0
    accepted: int = 0
    drift: float = 0.0

    def add(self, checked: Checked) -> None:
        """Count one more."""
        self.agreement.count(checked.divergence)
        self.proposed += checked.proposed
        self.accepted += checked.accepted
        self.drift = max(self.drift, checked.drift)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return self.agreement.to_json() | {
            "proposed": self.proposed,
            "accepted": self.accepted,
            "logprob_drift": self.drift,
        }


def check_comparable(decode: DecodeSpec) -> None:
    """Refuse a pipeline whose drafts keep the distribution and not the tokens.

    Raises:
        InputError: It samples with rejection.
    """
    if decode.verification == "rejection" and decode.sampling.temperature > 0:
        raise InputError(
            "verification: rejection keeps the distribution of answers when sampling, not the answers themselves: "
            "there is nothing to compare token by token",
            hint="--set decode.verification=noise, or --set decode.sampling.temperature=0",
        )


class Verification:
    """Decodes requests with and without drafts, and compares.

    Args:
        pipeline: The pipeline.
        requests: At least one.
        together: Besides one at a time, decode so many with drafts in one batch; 1 leaves that out.
        progress: Told of each request.

    Raises:
        InputError: The pipeline samples with rejection, or its engine takes fewer requests at once.
    """

    def __init__(
        self, pipeline: Pipeline, requests: Sequence[DecodeRequest], *, together: int, progress: Progress
    ) -> None:
        check_comparable(pipeline.loaded.spec.decode)
        check_batch(pipeline, together)
        self._pipeline = pipeline
        self._undrafted = pipeline.undrafted()
        self._requests = requests
        self._together = together
        self._progress = progress

    def run(self) -> Iterator[Checked]:
        """One result an answer with drafts, as soon as it is there: each alone, then as many together as asked.

        Raises:
            InputError: A request does not fit; all are prepared before the first is decoded.
            RunError: Memory ran out.
        """
        for request in self._requests:
            self._pipeline.prepare(request)
        count, size = len(self._requests), self._together
        for first in range(0, count, size):
            group = self._requests[first : first + size]
            references = []
            for place, request in enumerate(group, start=first):
                self._progress("verify", place, count)
                references.append(_results(self._undrafted, [request])[0])
                yield self._compare(request, 1, _results(self._pipeline, [request])[0], references[-1])
            if size > 1:
                self._progress("verify", first + len(group), count)
                for request, mine, theirs in zip(group, _results(self._pipeline, group), references, strict=True):
                    yield self._compare(request, len(group), mine, theirs)

    def _compare(self, request: DecodeRequest, together: int, mine: Result, theirs: Result) -> Checked:
        def gap(common: Sequence[int], other: int | None, picked: int | None) -> float | None:
            return undrafted_gap(self._undrafted, request, common, other, picked)

        found = divergence(mine.tokens, theirs.tokens, gap)
        if found is None and mine.finish_reason != theirs.finish_reason:
            found = Divergence(len(mine.tokens), None, None, None)
        shared = len(theirs.tokens) if found is None else found.position
        pairs = zip(mine.records[:shared], theirs.records[:shared], strict=True)
        return Checked(
            id=request.id,
            together=together,
            tokens=len(mine.tokens),
            divergence=found,
            proposed=mine.stats.drafted,
            accepted=mine.stats.accepted,
            drift=max((_apart(one.logprob, other.logprob) for one, other in pairs), default=0.0),
        )


def undrafted_gap(
    undrafted: Pipeline, request: DecodeRequest, common: Sequence[int], other: int | None, picked: int | None
) -> float | None:
    """How far from being picked another token was in the undrafted run; see `Scores.margin`."""
    scores = scores_at(undrafted.run, undrafted.prepare(request).request, common)
    return None if scores is None else scores.margin(picked, other)


def check_batch(pipeline: Pipeline, together: int) -> None:
    """Refuse more requests at once than the engine takes.

    Raises:
        InputError: ``engine.max_batch`` is smaller.
    """
    most = pipeline.loaded.spec.engine.max_batch
    if together > most:
        raise InputError(
            f"a batch of {together} is more than engine.max_batch {most}: the rest would wait in line",
            hint=f"--set engine.max_batch={together}",
        )


def _results(pipeline: Pipeline, requests: Iterable[DecodeRequest]) -> list[Result]:
    """The requests, decoded together; in their order."""
    prepared = [pipeline.prepare(request).request for request in requests]
    pipeline.forget_prefixes()  # each run reads its prompts itself
    done: dict[str, Result] = {}
    with closing(pipeline.run(*prepared)) as events:
        for event in events:
            if isinstance(event, DoneEvent):
                done[event.request] = event.result
    return [done[request.id] for request in prepared]


def _apart(one: float, other: float) -> float:
    """The difference; 0 where both are minus infinity."""
    return 0.0 if one == other else abs(one - other)
