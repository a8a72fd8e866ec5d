"""How nearly another token would have been picked at a place of an undrafted answer, whatever acts on it.

The composed scores are those of the undrafted run itself, read where it stood. What follows them (constraints,
repetition penalty, temperature, top-k, top-p, min-p, the noise of that position) is applied as the engine does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.events import Event
from ragdecode.decoding.request import Request
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    import torch

#: The search begins with this many nats, and ends with so many: beyond, nothing is near.
_NEAR, _FAR = 1e-5, 128.0
_STEP = 1.2
#: What the pick may lack to the best score, for these are taken in float64 and the run's own may not be.
_ROUNDING = 1e-4
_HALVINGS = 40


@dataclass(frozen=True)
class Scores:
    """What an undrafted run knew when it picked one token.

    Attributes:
        request: What was asked.
        answer: The tokens before.
        log_probs: Composed log-probabilities ``[V]``, before constraints and sampling, in float64 on the CPU.
    """

    request: Request
    answer: Sequence[int]
    log_probs: torch.Tensor

    def picked(self) -> int:
        """The token that is picked."""
        return int(self._final(self.log_probs).argmax())

    def margin(self, picked: int | None, other: int | None) -> float | None:
        """By how many nats composed scores would have to move against each other until the pick is another.

        At temperature 0 this is the difference of the two log-probabilities, and so of the two logits. When
        sampling it is that of the scores with their noise, times the temperature, or what it takes to get past
        top-k, top-p or min-p.

        Args:
            picked: The token that was picked; None for the end of the answer.
            other: The one that would be picked instead; None for the end of the answer.

        Returns:
            Nats; None if ``picked`` is not what these scores pick, or ``other`` cannot be picked at all.
        """
        final = self._final(self.log_probs)
        first, second = (self._token(token, final) for token in (picked, other))
        if first is None or second is None or first == second or float(final.max() - final[first]) > _ROUNDING:
            return None
        found = [self._least(first, second, direction) for direction in (self._lift, self._sink)]
        return min((nats for nats in found if nats is not None), default=None)

    def _token(self, token: int | None, final: torch.Tensor) -> int | None:
        """The token itself; for the answer's end, the end token that scores best."""
        if token is not None:
            return token
        ends = [end for end in self.request.end_tokens if end < len(final)]
        return max(ends, key=lambda end: float(final[end]), default=None)

    def _least(self, first: int, second: int, direction: Callable[[int, int], torch.Tensor]) -> float | None:
        """The smallest move in a direction after which ``second`` is no worse than ``first``."""
        import torch

        way = direction(first, second)

        def flips(nats: float) -> bool:
            final = self._final(self.log_probs + way * (nats / 2))
            return bool(final[second] >= final[first]) and not bool(torch.isneginf(final[second]))

        # with top-p a larger move can undo what a smaller one did, so the way is searched in small steps
        step = 2.0 if self.request.sampling.top_p == 1 else _STEP
        low, high = 0.0, _NEAR
        while not flips(high):
            low, high = high, step * high
            if high > _FAR:
                return None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if flips(middle) else (middle, high)
        return high

    def _lift(self, first: int, second: int) -> torch.Tensor:
        """Towards ``second``: what is better than it falls, it and the rest rise, ``[V]`` of -1 and 1."""
        way = 1.0 - 2.0 * (self.log_probs > self.log_probs[second]).to(self.log_probs.dtype)
        way[first], way[second] = -1.0, 1.0
        return way

    def _sink(self, first: int, second: int) -> torch.Tensor:
        """Away from ``first``: what is better than it rises, it and the rest fall, ``[V]`` of -1 and 1."""
        way = 2.0 * (self.log_probs > self.log_probs[first]).to(self.log_probs.dtype) - 1.0
        way[first], way[second] = -1.0, 1.0
        return way

    def _final(self, log_probs: torch.Tensor) -> torch.Tensor:
        """From composed log-probabilities to the scores whose argmax is picked ``[V]``; as `decoding.compose`."""
        import torch

        from ragdecode.decoding.noise import gumbel
        from ragdecode.decoding.sampling import penalise, warp

        sampling, scores = self.request.sampling, log_probs[None]
        size = log_probs.shape[-1]
        for part in self.request.constraints:
            session = part.start(self.request, size)
            state = session.start()
            for token in self.answer:
                state = session.advance(state, token)
            if (mask := session.mask(state)) is not None:
                scores = scores.masked_fill(mask, float("-inf"))
        if sampling.repetition_penalty != 1:
            seen = torch.zeros(1, size, dtype=torch.bool)
            seen[0, list(self.answer)] = True
            scores = penalise(scores, seen, sampling.repetition_penalty)
        if sampling.temperature > 0:
            place = [len(self.answer)]
            noise = gumbel(sampling.seed, self.request.id, 0, place, size, scores.device)
            scores = warp(scores, sampling).to(noise.dtype) + noise
        return scores[0]


def scores_at(
    run: Callable[[Request], Generator[Event, None, None]], request: Request, answer: Sequence[int]
) -> Scores | None:
    """The scores after the first tokens of an undrafted answer; the request is decoded again up to there.

    Args:
        run: Decodes a request.
        request: What was asked.
        answer: The beginning of what the undrafted run answered.

    Returns:
        The scores; None if the answer does not come to this place, or a monitor took part of it back.
    """
    probe = _Probe(len(answer))
    with closing(run(replace(request, drafters=(probe,), alternatives=0))) as events:
        for _ in events:
            if probe.seen is not None:
                break
    if probe.seen is None or probe.rewound or probe.tokens[: len(answer)] != list(answer):
        return None
    return Scores(request, tuple(answer), probe.seen)


class _Probe(Drafter):
    """Proposes nothing, and keeps the composed scores of one place; for one request."""

    part_name = "probe"

    def __init__(self, place: int) -> None:
        super().__init__(NoSettings())
        self.place = place
        self.tokens: list[int] = []
        self.seen: torch.Tensor | None = None
        self.rewound = False

    def start(self, request: Request) -> DraftSession:
        return _Watch(self)


class _Watch(DraftSession):
    eager = True

    def __init__(self, probe: _Probe) -> None:
        self._probe = probe

    def propose(self, nodes: int) -> Draft:
        return Draft()

    def observe(self, verified: Verified) -> None:
        if len(self._probe.tokens) == self._probe.place:
            self._probe.seen = verified.log_probs[0].cpu().double()
        self._probe.tokens += verified.committed

    def rewind(self, length: int) -> None:
        self._probe.rewound = True
