"""A branch of a search: an answer in flight that comes to rest at its next judged sentence, and how it is forked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ragdecode.decoding.active import Active
from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.events import ActionEvent, Event
from ragdecode.decoding.monitor import Accepted, MonitorSession


@dataclass
class Branch:
    """What a search knows of one of its answers in flight.

    Attributes:
        owner: Id of the request that is searched for.
        number: Names the branch in its search.
        judge: Place among the monitors of the one whose scores are read.
        known: Tokens whose sentences the search has seen already.
        begin: Tokens that it had when it was last sent on.
        limit: Tokens after these that it may draw; None for any number.
        trunk: The branch whose cache its rows begin with, until they are there.
        rests: Whether it waits for the search to look at it.
        seen: Every token as each of the monitors saw it, for those that are shown them again.
        events: What monitors did in it, each with the judge's verdicts or the tokens that there were then; told once
            it is settled.
        passes: Forward passes that were counted for the search.
    """

    owner: str
    number: int
    judge: int
    known: int = 0
    begin: int = 0
    limit: int | None = None
    trunk: Active | None = None
    rests: bool = False
    seen: list[Sequence[Accepted]] = field(default_factory=list)
    events: list[tuple[int, ActionEvent]] = field(default_factory=list)
    passes: int = 0

    def observe(self, active: Active, token: Sequence[Accepted]) -> None:
        """Note a token as the monitors saw; the branch rests if a sentence more is judged, or it may draw no more."""
        self.seen.append(token)
        verdicts = active.monitors[self.judge][1].verdicts
        judged = bool(verdicts) and verdicts[-1].tokens.stop > self.known
        self.rests = judged or (self.limit is not None and len(active.tokens) - self.begin >= self.limit)

    def note(self, active: Active, events: Sequence[Event]) -> None:
        """Keep what monitors did."""
        judge, session = active.monitors[self.judge]
        for event in events:
            if isinstance(event, ActionEvent):
                known = len(session.verdicts) if event.monitor == judge else len(active.tokens)
                self.events.append((known, event))

    def go_on(self, tokens: int, known: int, limit: int | None) -> None:
        """Send it on from its first ``tokens`` tokens."""
        self.begin, self.known, self.limit, self.rests = tokens, known, limit, False


def fork(trunk: Active, branch: Branch, key: str, sampling: Mapping[str, Any], vocab_size: int) -> Active:
    """An answer of its own that begins with all that another one holds; its rows are filled when they are opened.

    Args:
        trunk: The other one; it stays as it is until then.
        branch: The new one's place in the search.
        key: Keys its noise.
        sampling: Fields of the sampling that are changed.
        vocab_size: Tokens that count.
    """
    request = replace(
        trunk.request,
        id=f"{branch.owner}\x00{branch.number}",
        key=key,
        sampling=replace(trunk.sampling, **sampling),
        views={**trunk.request.views, **trunk.ruling.views},
    )
    made = Active(request, vocab_size, trunk)
    made.branch = branch
    branch.trunk = trunk
    of = trunk.branch
    assert of is not None
    branch.seen, branch.events = list(of.seen[: len(trunk.tokens)]), list(of.events)
    made.tokens, made.records = list(trunk.tokens), list(trunk.records)
    made.constraint_states = list(trunk.constraint_states)
    made.bans = {position: set(tokens) for position, tokens in trunk.bans.items()}
    made.notes = list(trunk.notes)
    if made.stream:
        for token in made.tokens:
            made.stream.push(token)
    made.monitors = [
        (
            name,
            session.fork() or _again(request.monitors[place].start(request), [token[place] for token in branch.seen]),
        )
        for place, (name, session) in enumerate(trunk.monitors)
    ]
    if made.tokens:
        import torch

        told = Verified([], [], [], [], [], made.tokens, torch.empty(0, vocab_size))
        for _, drafter in made.drafters:
            drafter.observe(told)
    return made


def _again(session: MonitorSession, seen: Sequence[Accepted]) -> MonitorSession:
    """A session that is shown again what was seen; what it would do about it, and tell, has been done and told."""
    for token in seen:
        session.observe(token)
    session.told()
    return session


def fill_rows(active: Active) -> None:
    """Give the rows of a fork, just opened, what its trunk has read."""
    assert active.branch is not None
    trunk, active.branch.trunk = active.branch.trunk, None
    if trunk is None:
        return
    for name, row in active.rows.items():
        source = trunk.rows[name]
        if source.cached:
            saved = source.backend.save_prefix(source.handle, source.cached)
            row.backend.load_prefix(row.handle, saved, source.cached)
        row.cached, row.prompt = source.cached, source.prompt
        row.own = None if source.own is None else list(source.own)
        row.verified, row.idle = source.verified, source.idle
    active.roll_back()


def cut(active: Active, keep: int) -> None:
    """Take back what comes after the first ``keep`` tokens."""
    if keep < len(active.tokens):
        active.rewind(keep)
        assert active.branch is not None
        del active.branch.seen[len(active.tokens) :]
        judge, session = active.monitors[active.branch.judge]
        active.branch.events = [
            (known, event)
            for known, event in active.branch.events
            if known <= (len(session.verdicts) if event.monitor == judge else len(active.tokens))
        ]
