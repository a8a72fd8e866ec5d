"""A search at work: sends branches on, looks at those that came to rest, shows what is settled, ends with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ragdecode.decoding.active import Active
from ragdecode.decoding.branch import Branch, cut, fork
from ragdecode.decoding.events import DoneEvent, Event, TokenEvent, VerdictEvent
from ragdecode.decoding.request import Request, Result, Stats
from ragdecode.decoding.searcher import Choice, Draw, Found, Round


@dataclass(frozen=True)
class Sent:
    """What a search wants next.

    Attributes:
        resumed: Branches that go on in the rows that they have.
        begun: Branches that need rows.
        dropped: Branches that are of no use any more.
    """

    resumed: Sequence[Active] = ()
    begun: Sequence[Active] = ()
    dropped: Sequence[Active] = ()


class Searching:
    """The search of one request.

    Args:
        request: The request; it names a search and a monitor that scores.
        vocab_size: Tokens that count.

    Attributes:
        branches: Those that are alive, by number.
    """

    def __init__(self, request: Request, vocab_size: int) -> None:
        assert request.search is not None
        self.branches: dict[int, Active] = {}
        self._request = request
        self._vocab = vocab_size
        self._steps = request.search.run()
        self._judge = judge_of(request)
        self._made = 0
        self._round: list[int] = []
        self._stats = Stats()
        self._passes = 0
        self._root: Active | None = None
        self._shown = 0
        self._announced = 0

    def start(self) -> Sent:
        """The first branches."""
        return self._send(next(self._steps))

    def at_rest(self, active: Active) -> bool:
        """Whether a branch waits to be looked at."""
        return _at_rest(active)

    @property
    def complete(self) -> bool:
        """Whether every branch of the round has come to rest."""
        return all(_at_rest(self.branches[number]) for number in self._round)

    def count_passes(self) -> None:
        """Count the passes of a step once, however many branches took part."""
        most = 0
        for active in self.branches.values():
            assert active.branch is not None
            most = max(most, active.stats.forward_passes - active.branch.passes)
            active.branch.passes = active.stats.forward_passes
        self._passes += most

    def advance(self, events: list[Event]) -> Sent:
        """Look at what the round found and send the next one; at the end, the result is among the events."""
        found = [_found(self.branches[number]) for number in self._round]
        try:
            step = self._steps.send(found)
        except StopIteration as end:
            return self._end(end.value, events)
        return self._send(step, events)

    def cancelled(self) -> Result:
        """What is settled, as a result."""
        if not self.branches:
            begun = Active(replace(self._request, search=None), self._vocab)
            begun.finished = "cancelled"
            return begun.result()
        alive = list(self.branches.values())
        active = next((one for one in alive if one.rows), alive[0])  # one that waits for rows holds no more
        cut(active, self._announced)
        active.finished = "cancelled"
        return self._result(active, None)

    def close(self) -> None:
        """Free the rows of all branches."""
        while self.branches:
            _, active = self.branches.popitem()
            active.close()
        self._steps.close()

    def _send(self, step: Round, events: list[Event] | None = None) -> Sent:
        if step.settled is not None and events is not None:
            found, tokens = step.settled
            self._settle(self.branches[found.branch], tokens, events)
        resumed: list[Active] = []
        begun: list[Active] = []
        self._round = []
        wanted = {found.branch for found in step.held}
        for draw in step.draws:
            active = self._drawn(draw)
            assert active.branch is not None
            self._round.append(active.branch.number)
            (resumed if draw.same else begun).append(active)
            if draw.after is not None:
                wanted.add(draw.after.branch)
        wanted.update(self._round)
        dropped = [self._drop(number) for number in [*self.branches] if number not in wanted]
        return Sent(resumed, begun, dropped)

    def _drawn(self, draw: Draw) -> Active:
        """The branch of a draw, ready to be decoded."""
        if draw.after is not None and draw.same:
            active = self.branches[draw.after.branch]
            assert active.branch is not None
            known = draw.after.sentences[-1].tokens.stop if draw.after.sentences else 0
            active.branch.go_on(len(active.tokens), known, draw.limit)
            return active
        branch = Branch(self._request.id, self._made, self._judge, limit=draw.limit)
        self._made += 1
        if draw.after is None:
            sampling = replace(self._request.sampling, **draw.sampling)
            active = Active(replace(self._request, search=None, sampling=sampling), self._vocab)
            active.branch = branch
            self._root = self._root or active
        else:
            trunk = self.branches[draw.after.branch]
            if draw.keep is not None:
                cut(trunk, draw.keep)
            key = f"{self._request.noise_key}\x00{draw.name}"
            active = fork(trunk, branch, key, draw.sampling, self._vocab)
            branch.go_on(len(active.tokens), len(active.tokens), draw.limit)
        self.branches[branch.number] = active
        return active

    def _drop(self, number: int) -> Active:
        active = self.branches.pop(number)
        self._add(active.stats)
        return active

    def _settle(self, active: Active, tokens: int, events: list[Event]) -> None:
        """Show tokens that stand in the answer, whatever else comes."""
        assert active.branch is not None
        judged = active.monitors[self._judge][1].verdicts
        if not judged or judged[-1].tokens.stop <= tokens:  # else what monitors said is of more than is settled
            self._tell(active, events)
        self._show(active, tokens, events)

    def _tell(self, active: Active, events: list[Event]) -> None:
        """What monitors did and found on the way, in the name of the request."""
        assert active.branch is not None
        name = self._request.id
        events += [replace(event, request=name) for _, event in active.branch.events]
        active.branch.events.clear()
        for monitor, session in active.monitors:
            events += [VerdictEvent(name, monitor, verdict) for verdict in session.told()]

    def _show(self, active: Active, tokens: int, events: list[Event]) -> None:
        stream = active.stream
        while self._announced < tokens:
            count = self._announced + 1
            if stream and not active.finished and not stream.settled(count):
                break
            end = stream.end_of(count) if stream else 0
            text = active.text[self._shown : end]
            events.append(TokenEvent(self._request.id, active.records[count - 1], text))
            self._announced, self._shown = count, end

    def _end(self, choice: Choice, events: list[Event]) -> Sent:
        active = self.branches[choice.found.branch]
        cut(active, choice.keep)
        active.finished = choice.reason
        active.closing = choice.closing
        active.notes += choice.notes
        self._tell(active, events)
        if active.stream:
            active.stream.flush()
        self._show(active, active.stream.tokens_covering_text() if active.stream else len(active.tokens), events)
        result = self._result(active, dict(choice.record))
        events.append(DoneEvent(self._request.id, result))
        dropped = [self.branches.pop(number) for number in [*self.branches]]
        # the rows of the answer last: what they hold is what a chat goes on from
        return Sent(dropped=[*(one for one in dropped if one is not active), active])

    def _result(self, active: Active, record: dict[str, Any] | None) -> Result:
        """The answer of a branch, with the costs of all of them."""
        made = active.result()
        for branch in self.branches.values():
            self._add(branch.stats)
        prefill, decode = self._root.seconds if self._root is not None else (0.0, 0.0)
        stats = replace(
            self._stats,
            prompt_tokens=made.stats.prompt_tokens,
            new_tokens=len(made.tokens),
            forward_passes=self._passes,
            prefill_seconds=prefill,
            decode_seconds=decode,
        )
        return replace(made, id=self._request.id, stats=stats, search=record)

    def _add(self, stats: Stats) -> None:
        """Add up what a branch cost."""
        for one in fields(Stats):
            mine, its = getattr(self._stats, one.name), getattr(stats, one.name)
            setattr(self._stats, one.name, _sum(mine, its))


def judge_of(request: Request) -> int:
    """Place of the monitor whose scores a request's search reads."""
    search = request.search
    assert search is not None
    monitors = enumerate(request.monitors)
    return next(place for place, part in monitors if part.scores and search.by in ("", part.part_name))


def _at_rest(active: Active) -> bool:
    return active.finished is not None or (active.branch is not None and active.branch.rests)


def _found(active: Active) -> Found:
    assert active.branch is not None
    verdicts = tuple(active.monitors[active.branch.judge][1].verdicts)
    return Found(active.branch.number, tuple(active.tokens), verdicts, active.finished)


def _sum(one: Any, other: Any) -> Any:
    """The sum of two numbers, or of what mappings hold by key."""
    if isinstance(one, dict):
        return {
            key: _sum(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
            for key in {**one, **other}
        }
    return one + other
