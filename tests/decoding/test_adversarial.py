"""What a hostile part, text, setting or moment could break: one request's fault stays its own, and nothing leaks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.drafter import Draft, Drafter, Look
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent, FailedEvent
from ragdecode.decoding.monitor import Retrieve, Rewind, Stop
from ragdecode.decoding.request import View
from ragdecode.decoding.rule import Rule
from ragdecode.errors import RunError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, prompt, request
from tests.decoding.test_commit import CAD, LOOKUP, VIEWS, Scripted, plain


def finish(engine):
    """All events until the engine is idle."""
    events = []
    for _ in range(500):
        if not engine.busy:
            return events
        events += engine.step()
    raise AssertionError("the engine does not come to an end")


def fail(*_):
    raise ValueError("broken part")


class BrokenDrafter(Drafter):
    part_name = "broken"

    def __init__(self, where):
        super().__init__(NoSettings())
        self.where = where
        self.views, self.look_nodes = ("with_context",), 4

    def start(self, request):
        session = SimpleNamespace(
            eager=True, propose=lambda nodes: Draft(), observe=lambda v: None, rewind=lambda n: None
        )

        def bad_look(nodes):
            yield Look("with_context", Draft([VOCAB + 9], [-1], [1.0]))

        def late(nodes):
            yield Look("with_context", Draft())
            fail()

        ways = {
            "propose": fail,
            "late": late,
            "look": bad_look,
            "ragged": lambda nodes: Draft([1, 2], [-1], [1.0]),
            "none": lambda nodes: None,
        }
        if self.where in ways:
            session.propose = ways[self.where]
        elif self.where == "observe":
            session.observe = fail
        return session


class Track(Constraint):
    """Allows, after each token, only tokens of the other parity; its state refuses what the mask forbids."""

    part_name = "track"

    def __init__(self, broken=""):
        super().__init__(NoSettings())
        self.broken = broken

    def start(self, request, vocab_size):
        return TrackSession(vocab_size, self.broken)


class TrackSession(ConstraintSession):
    def __init__(self, vocab_size, broken):
        self.odd = torch.arange(vocab_size) % 2 == 1
        self.broken = broken

    def start(self):
        return 0

    def advance(self, state, token):
        assert self.broken != "advance"
        assert token % 2 == state % 2, "advanced by a token that the mask forbids"
        return state + 1

    def mask(self, state):
        assert self.broken != "mask"
        return ~self.odd if state % 2 else self.odd


class BrokenRule(Rule):
    """Fails in one of its methods, for the request that asks for it alone."""

    part_name = "broken"
    views = ()
    reads_hidden = True

    def __init__(self, where):
        super().__init__(NoSettings())
        self.where, self.calls = where, 0
        self.remembers = where == "remember"

    def reads(self, request):
        return {"with_context": [range(3, 6)]}

    def fails(self, where):
        self.calls += where == self.where
        if where == self.where and self.calls > 1:
            fail()

    def read(self, view, place, log_probs, hidden):
        for _ in log_probs:
            self.fails("read")

    def remember(self, nodes):
        self.fails("remember")
        return nodes.composed[:, :1]

    def compose(self, nodes):
        self.fails("compose")
        return nodes.composed


class TooLong(Rule):
    """Fails for answers of more than seven tokens, whoever it serves."""

    part_name = "too_long"
    views = ()

    def compose(self, nodes):
        if any(len(nodes.path(node)) > 7 for node in range(len(nodes.composed))):
            fail()
        return nodes.composed


BREAKS = {
    **{f"rule {where}": {"rules": [*CAD, BrokenRule(where)]} for where in ("read", "remember", "compose")},
    **{f"drafter {where}": {"drafters": [BrokenDrafter(where)]} for where in ("propose", "late", "look", "ragged")},
    "drafter observe": {"drafters": [BrokenDrafter("observe")]},
    "monitor": {"monitors": [Scripted(lambda s, t: fail() if t.position == 3 else None)]},
    "monitor finish": {"monitors": [Scripted(lambda s, t: None, last=fail)]},
    "retrieve": {"monitors": [Scripted(lambda s, t: Retrieve("q") if t.position == 3 else None)], "retrieve": fail},
    "retrieved too long": {
        "monitors": [Scripted(lambda s, t: Retrieve("q") if t.position == 3 else None)],
        "retrieve": lambda query: {"with_context": View(prompt(1, 250))},
    },
    "override": {"monitors": [Scripted(lambda s, t: Rewind(1, {"cad.alpha": 99}) if t.position == 3 else None)]},
    "override of sampling": {
        "monitors": [Scripted(lambda s, t: Rewind(1, {"sampling.temperature": "hot"}) if t.position == 3 else None)]
    },
    "override of views": {
        "monitors": [Scripted(lambda s, t: Rewind(1, {"cad.against": "nowhere"}) if t.position == 3 else None)]
    },
    "negative rewind": {"monitors": [Scripted(lambda s, t: Rewind(-1) if t.position == 3 else None)]},
    "negative stop": {"monitors": [Scripted(lambda s, t: Stop(-2) if t.position == 3 else None)]},
    "constraint mask": {"constraints": [Track("mask")]},
    "constraint advance": {"constraints": [Track("advance")]},
    "detokenizer": {"detokenize": fail},
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_part_that_fails_ends_its_own_request_only(what):
    mine = backend()
    engine = Engine({"main": mine})
    engine.submit(request("good", VIEWS, rules=CAD, max_new_tokens=24, drafters=[LOOKUP]))
    engine.submit(request("bad", VIEWS, **{"rules": CAD, "max_new_tokens": 24, **BREAKS[what]}))
    events = finish(engine)
    assert [event.request for event in events if isinstance(event, FailedEvent)] == ["bad"]
    done = [event for event in events if isinstance(event, DoneEvent)]
    assert [event.request for event in done] == ["good"]
    assert done[0].result.tokens == plain().tokens
    assert not mine._rows


def test_a_rule_that_requests_share_ends_those_that_it_fails_for():
    engine, shared = Engine({"main": backend()}), [TooLong(NoSettings())]
    for name, length in (("short", 5), ("long", 12), ("other", 7)):
        engine.submit(request(name, VIEWS, rules=shared, max_new_tokens=length))
    events = finish(engine)
    assert [event.request for event in events if isinstance(event, FailedEvent)] == ["long"]
    assert {event.request for event in events if isinstance(event, DoneEvent)} == {"short", "other"}


def test_run_raises_what_failed():
    with pytest.raises(ValueError, match="broken part"):
        list(Engine({"main": backend()}).run([request("a", VIEWS, **BREAKS["monitor"])]))


class Unstable:
    """A backend that fails once, after a pass."""

    def __init__(self, fails_at=2):
        self.inner, self.calls, self.fails_at = backend(), 0, fails_at

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def forward(self, *args, **settings):
        output = self.inner.forward(*args, **settings)
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("a passing fault")
        return output


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_step_that_fails_for_all_can_be_made_again(fails_at):
    tokens = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=12))["a"].tokens
    engine = Engine({"main": Unstable(fails_at)}, prefill_tokens=8)
    item = request("a", VIEWS, max_new_tokens=12, drafters=[TreeDrafter(tokens, 1)])
    engine.submit(item)
    with pytest.raises(RuntimeError, match="passing fault"):
        finish(engine)
    assert finish(engine)[-1].result.tokens == tokens


def test_events_of_others_survive_a_step_that_fails():
    engine = Engine({"main": Unstable(2)})
    engine.submit(request("gone", VIEWS, max_new_tokens=9))
    engine.submit(request("a", VIEWS, max_new_tokens=9))
    engine.step()
    engine.cancel("gone")
    with pytest.raises(RuntimeError):
        engine.step()
    assert [event.request for event in finish(engine) if isinstance(event, DoneEvent)] == ["gone", "a"]


class Small:
    """A backend with memory for few slots."""

    def __init__(self, slots):
        self.inner, self.slots, self.capacity = backend(), slots, {}

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def open_row(self, capacity):
        if sum(self.capacity.values()) + capacity > self.slots:
            raise RunError("full")
        row = self.inner.open_row(capacity)
        self.capacity[row] = capacity
        return row

    def close_row(self, row):
        del self.capacity[row]
        self.inner.close_row(row)


def test_without_memory_requests_wait_and_one_that_never_fits_fails_alone():
    mine = Small(120)
    engine = Engine({"main": mine})
    for i in range(4):
        engine.submit(request(f"r{i}", VIEWS, rules=CAD, max_new_tokens=12))
    engine.submit(request("huge", {"with_context": prompt(1, 150)}, max_new_tokens=12))
    engine.submit(request("last", VIEWS, rules=CAD, max_new_tokens=12))
    ends = {event.request: event for event in finish(engine) if isinstance(event, DoneEvent | FailedEvent)}
    assert isinstance(ends.pop("huge"), FailedEvent)
    assert {event.result.tokens[-1] for event in ends.values()} == {plain(12).tokens[-1]}
    assert len(ends) == 5
    assert not mine.capacity


def test_a_retrieval_without_memory_leaves_nothing_behind():
    mine = Small(120)
    engine = Engine({"main": mine})
    monitors = [Scripted(lambda s, t: Retrieve("q") if t.position == 1 else None)]
    engine.submit(
        request(
            "a", VIEWS, monitors=monitors, max_new_tokens=9, retrieve=lambda q: {"with_context": View(prompt(1, 200))}
        )
    )
    assert isinstance(finish(engine)[-1], FailedEvent)
    assert not mine.capacity


def test_a_cancel_that_came_too_late_does_not_hit_the_next_request_of_that_name():
    engine = Engine({"main": backend()})
    engine.submit(request("a", VIEWS, max_new_tokens=2))
    finish(engine)
    engine.cancel("a")
    engine.submit(request("a", VIEWS, rules=CAD, max_new_tokens=24))
    assert finish(engine)[-1].result.tokens == plain().tokens


def test_the_next_run_hears_nothing_of_one_that_was_left():
    engine = Engine({"main": Unstable(2)})
    with pytest.raises(RuntimeError):
        list(engine.run([request("a", VIEWS), request("b", VIEWS)]))
    assert {event.request for event in engine.run([request("c", VIEWS, max_new_tokens=3)])} == {"c"}
