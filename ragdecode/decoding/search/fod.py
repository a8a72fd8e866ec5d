"""FOD: greedy until a sentence is not faithful, then a search over whole sentences by their faithfulness."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ragdecode.decoding.searcher import Choice, Draw, Found, Round, Search, Steps
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.monitor import Judged
    from ragdecode.decoding.request import FinishReason
    from ragdecode.decoding.rule import Company


class FodSettings(Settings):
    """Settings of FOD; the defaults are the paper's."""

    by: str = ""
    """The monitor whose scores decide; the first one that scores if left out."""
    tau_start: float = Field(default=0.8, ge=0.0, le=1.0)
    """A greedy sentence that scores no more than this ends the first stage and is dropped."""
    tau_prune: float = Field(default=0.7, ge=0.0, le=1.0)
    """A sampled sentence that scores less is no candidate."""
    beams: int = Field(default=2, ge=1, le=64)
    """Beginnings of the answer that are kept from round to round."""
    samples: int = Field(default=6, ge=1, le=64)
    """Sentences that a round draws, shared out evenly over the beginnings that are open."""
    temperature: float = Field(default=0.7, gt=0.0, le=10.0)
    """Of the draws."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Of the draws."""
    max_sentence_tokens: int = Field(default=65, ge=1)
    """A draw that has no judged sentence after so many tokens is no candidate; greedy sentences may be longer."""
    max_sentences: int = Field(default=9, ge=1)
    """Longest answer, in sentences."""
    abstention: str = ""
    """What an answer says of which no sentence is left; nothing if left out."""


@dataclass(frozen=True)
class _Beam:
    """A beginning of the answer.

    Attributes:
        found: The branch that holds it.
        keep: Its tokens.
        sentences: Its sentences, as they were judged.
        ended: Why it ends there; None if it can go on.
    """

    found: Found
    keep: int
    sentences: Sequence[Judged] = ()
    ended: FinishReason | None = None

    @property
    def scores(self) -> list[float]:
        """Of its sentences, without those that have none."""
        return [one.score for one in self.sentences if one.score is not None]

    @property
    def score(self) -> float:
        """Mean of the scores, 1 where there is none."""
        scores = self.scores
        return math.fsum(scores) / len(scores) if scores else 1.0

    @property
    def tokens(self) -> tuple[int, ...]:
        """Its tokens' ids."""
        return tuple(self.found.tokens[: self.keep])


@register("search", "fod", FodSettings)
class Fod(Search):
    """Decodes greedily until a sentence is not faithful, then searches sentence by sentence for faithful ones.

    Source: Wu et al., arXiv 2406.13692 (FOD); the released decoder's control flow without its slips: a round draws
    its S samples also from one beginning, the end of the text is a candidate that is finished, and there are at most
    ``max_sentences`` sentences. A draw is a sentence and whether the text ends with it: the first stage ends an answer
    where greedy decoding does, and a drawn sentence after which the text ended is a finished candidate at once. A
    sentence without a score passes and counts in no mean.
    """

    def __init__(self, settings: FodSettings) -> None:
        super().__init__(settings)
        self.by = settings.by
        self.branches = settings.samples
        self.samplings = ({"temperature": settings.temperature, "top_p": settings.top_p},)
        if settings.samples < settings.beams:
            raise InputError(
                f"fod draws {settings.samples} samples for {settings.beams} beams",
                hint="give at least one sample to each beam",
            )

    def check(self, company: Company) -> None:
        """Refuse monitors that would act as well.

        Raises:
            InputError: The monitor whose scores are read does more than to flag.
        """
        for monitor in company.monitors:
            action = getattr(monitor.settings, "on_unfaithful", None)
            if action is not None and action.name != "flag":
                raise InputError(
                    f"fod acts on what {monitor.part_name} finds, and {monitor.part_name} would {action.name}",
                    hint=f"set {monitor.part_name}.on_unfaithful to flag",
                )

    def run(self) -> Steps:
        """The two stages of one answer."""
        told: Counter[str] = Counter()
        beam = yield from self._greedy(told)
        if beam.ended is not None:
            return self._choice(beam, "greedy", told)
        best = yield from self._search(beam, told)
        return self._choice(best, "search", told)

    def _greedy(self, told: Counter[str]) -> Generator[Round, Sequence[Found], _Beam]:
        """The first stage: up to the first sentence that is not faithful, or to the end."""
        settings: Any = self.settings
        draw, settled, kept = Draw("greedy"), None, 0
        while True:
            (found,) = yield Round([draw], settled=settled)
            for number, sentence in enumerate(found.sentences[kept:], start=kept):
                if sentence.score is not None and sentence.score <= settings.tau_start:
                    told["greedy"] = number
                    return _Beam(found, _end_of(found.sentences[:number]), found.sentences[:number])
                kept = told["greedy"] = number + 1
                if kept == settings.max_sentences:
                    last = found.ended is not None and kept == len(found.sentences)
                    keep = len(found.tokens) if last else sentence.tokens.stop
                    return _Beam(found, keep, found.sentences[:kept], found.ended if last else "length")
            if found.ended is not None:
                return _Beam(found, len(found.tokens), found.sentences, found.ended)
            draw, settled = Draw("greedy", found, same=True), (found, _end_of(found.sentences))

    def _search(self, beam: _Beam, told: Counter[str]) -> Generator[Round, Sequence[Found], _Beam]:
        """The second stage: rounds of samples; the best beginnings by the mean of their scores go on."""
        settings: Any = self.settings
        beams = [beam]
        while (going := [one for one in beams if one.ended is None]) and len(
            going[0].sentences
        ) < settings.max_sentences:
            told["rounds"] += 1
            draws = [
                Draw(f"{told['rounds']}.{number}.{draw}", one.found, one.keep, self.samplings[0], self._limit)
                for number, one in enumerate(going)
                for draw in range(max(1, settings.samples // len(going)))
            ]
            settled = beams[0].found, _common([one.tokens for one in beams])
            found = yield Round(draws, [one.found for one in beams], settled)
            candidates = [one for one in beams if one.ended is not None]
            share = len(found) // len(going)
            for number, one in enumerate(going):
                candidates += self._candidates(one, found[number * share : (number + 1) * share], told)
            if not candidates:
                return beams[0]
            beams = sorted(candidates, key=lambda one: -one.score)[: settings.beams]
        return beams[0]

    @property
    def _limit(self) -> int:
        settings: Any = self.settings
        limit: int = settings.max_sentence_tokens
        return limit

    def _candidates(self, beam: _Beam, found: Sequence[Found], told: Counter[str]) -> list[_Beam]:
        """What the draws of one beginning are worth going on with."""
        settings: Any = self.settings
        made: list[_Beam] = []
        seen: set[tuple[tuple[int, ...], bool]] = set()
        for draw in found:
            told["drawn"] += 1
            new = [one for one in draw.sentences if one.tokens.stop > beam.keep]
            if not new and draw.ended is None:
                told["too_long"] += 1
                continue
            ended = draw.ended if len(new) < 2 else None  # what follows the first sentence is not of this draw
            keep = len(draw.tokens) if ended is not None else new[0].tokens.stop
            before = [one for one in beam.sentences if one.tokens.stop <= beam.keep]
            sentences = (*before, *new[:1])
            key = tuple(draw.tokens[beam.keep : keep]), ended is not None
            if key in seen:
                told["repeated"] += 1
            elif not sentences:
                told["empty"] += 1
            elif new and new[0].score is not None and new[0].score < settings.tau_prune:
                told["pruned"] += 1
            else:
                made.append(_Beam(draw, keep, sentences, ended))
            seen.add(key)
        return made

    def _choice(self, beam: _Beam, stage: str, told: Mapping[str, int]) -> Choice:
        """The answer, and what is told of the search."""
        settings: Any = self.settings
        full = len(beam.sentences) >= settings.max_sentences
        abstained = not beam.keep and beam.ended is None
        reason = beam.ended or ("length" if full else "monitor")
        record = {
            "name": self.part_name,
            "stage": stage,
            **{name: told.get(name, 0) for name in _COUNTED},
            "scores": [one.score for one in beam.sentences],
            "score": beam.score if beam.scores else None,
            "abstained": abstained,
        }
        notes = []
        if abstained:
            notes.append("fod abstained: no sentence was faithful enough to begin with")
        elif reason == "monitor":
            notes.append("fod ended the answer: no faithful sentence was found to go on with")
        return Choice(beam.found, beam.keep, reason, record, settings.abstention if abstained else "", notes)


#: What a record counts: greedy sentences that were kept, rounds, draws, and what became of draws that were dropped.
_COUNTED = ("greedy", "rounds", "drawn", "repeated", "empty", "pruned", "too_long")


def _end_of(sentences: Sequence[Judged]) -> int:
    """Tokens up to the end of the last sentence."""
    return sentences[-1].tokens.stop if sentences else 0


def _common(beginnings: Sequence[Sequence[int]]) -> int:
    """How many tokens all beginnings share."""
    shortest = min(beginnings, key=len)
    for place, token in enumerate(shortest):
        if any(other[place] != token for other in beginnings):
            return place
    return len(shortest)
