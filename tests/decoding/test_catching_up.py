"""Drafters that are not asked do not observe, and what they miss is made good before they draft again."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.drafters.lookahead import Lookahead, LookaheadSettings
from ragdecode.decoding.drafters.ngram import Ngram, NgramSettings
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.drafters.recycling import Recycling, RecyclingSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.speculation.catching_up import CatchingUp
from ragdecode.decoding.speculation.governor import FixedTree, Governor, candidates
from ragdecode.decoding.speculation.governor_throughput import Throughput
from ragdecode.decoding.speculation.step_cost import StepCost, StepCosts
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import TreeDrafter, backend, decode, prompt, request

VIEWS = {"with_context": prompt(3, 6) * 4}


def verified(tokens, size: int = 1) -> Verified:
    return Verified([5] * size, [-1] * size, [0] * size, [()] * size, [0], tokens, torch.zeros(size, 97))


class Noting(DraftSession):
    def __init__(self):
        self.told = []

    def propose(self, nodes):
        self.told.append("asked")
        return Draft()

    def observe(self, verified):
        self.told.append((list(verified.committed), len(verified.log_probs)))

    def rewind(self, length):
        self.told.append(f"rewind {length}")

    def retrieved(self, prompts):
        self.told.append("retrieved")


def test_tokens_of_steps_without_an_ask_come_at_once_before_the_next():
    inner = Noting()
    session = CatchingUp(inner)
    for tokens in ([1], [2, 3], []):
        session.observe(verified(tokens, 4))
    assert inner.told == []
    session.propose(3)
    session.observe(verified([4], 4))
    session.observe(verified([5], 4))
    session.rewind(2)
    session.observe(verified([6], 4))
    session.retrieved({})
    session.propose(3)
    assert inner.told == [
        ([1, 2, 3], 0),
        "asked",
        ([4], 4),
        ([5], 0),
        "rewind 2",
        ([6], 0),
        "retrieved",
        "asked",
    ]


class NowAndThen(Governor):
    """Asks in every third step."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def ask(self, slots, *, paid):
        self.steps += not paid
        return [candidates(slot, paid=paid) if self.steps % 3 == 0 else [] for slot in slots]

    choose = FixedTree.choose


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(
    "make",
    [
        lambda: PromptLookup(PromptLookupSettings()),
        lambda: Recycling(RecyclingSettings()),
        lambda: Ngram(NgramSettings(stochastic=True)),
        lambda: Lookahead(LookaheadSettings()),
    ],
)
def test_drafters_that_are_asked_now_and_then_draft_from_the_whole_answer(make, temperature):
    how = {"max_new_tokens": 40, "sampling": Sampling(temperature=temperature, top_k=2, seed=1)}
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, **how))["a"]
    item = request("a", VIEWS, drafters=[make()], **how)
    drafted = decode(Engine({"main": backend()}, governor=NowAndThen()), item)["a"]
    assert drafted.tokens == plain.tokens
    assert drafted.stats.drafted > 0


class Dawdler(Drafter):
    """Guesses wrong, and takes its time to observe."""

    part_name = "dawdler"

    def __init__(self, clock):
        super().__init__(NoSettings())
        self.clock, self.observed = clock, 0

    def start(self, request):
        return _Dawdling(self)


class _Dawdling(DraftSession):
    def __init__(self, parent):
        self.parent = parent

    def propose(self, nodes):
        return Draft([7], [-1], [0.9])

    def observe(self, verified):
        self.parent.observed += 1
        self.parent.clock.now += 0.02

    def rewind(self, length):
        pass


class Clock:
    """Time stands still but where it is made to pass."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


COSTS = StepCosts({"main": StepCost((1, 2, 4, 8), (0.01, 0.0101, 0.0102, 0.0104), (0.0,) * 4, 0.0001)})


def test_time_to_observe_is_counted_and_no_longer_spent_where_it_does_not_pay(monkeypatch):
    part = Dawdler(Clock(monkeypatch))
    item = request("a", VIEWS, drafters=[part], max_new_tokens=200)
    stats = decode(Engine({"main": backend()}, governor=Throughput(COSTS)), item)["a"].stats
    assert stats.steps == 200
    assert part.observed <= 4  # of 200: what may be lost is two steps and two in a hundred, an ask takes two steps
    assert part.clock.now <= (2 + 0.03 * 200) * 0.01


def test_observing_that_pays_goes_on(monkeypatch):
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=60))["a"].tokens
    clock = Clock(monkeypatch)

    class Slow(TreeDrafter):
        def start(self, request):
            session = super().start(request)
            observe = session.observe

            def slowly(verified):
                clock.now += 0.001
                observe(verified)

            session.observe = slowly
            return session

    item = request("a", VIEWS, drafters=[Slow(plain, 1)], max_new_tokens=60)
    stats = decode(Engine({"main": backend()}, governor=Throughput(COSTS)), item)["a"].stats
    assert stats.asked["trees"] > 0.7 * stats.steps


def test_time_to_merge_and_to_govern_is_booked(monkeypatch):
    clock, spent = Clock(monkeypatch), []

    class Musing(Throughput):
        def choose(self, slots):
            clock.now += 0.001
            super().choose(slots)

        def settle(self, slots, seconds=None):
            clock.now += 0.0005
            super().settle(slots, None)

        def learn(self, slots, worth, seconds):
            spent.append(seconds)
            super().learn(slots, worth, seconds)

    items = [request(name, VIEWS, drafters=[PromptLookup(PromptLookupSettings())], max_new_tokens=9) for name in "ab"]
    governor = Musing(COSTS)
    engine = Engine({"main": backend()}, governor=governor)
    monkeypatch.setattr(governor, "ask", lambda slots, *, paid: [[] for _ in slots])
    decode(engine, *items)
    plain = COSTS.seconds([("main", 1, 25), ("main", 1, 25)])
    assert spent[0] == pytest.approx(plain + 0.001, abs=1e-6)
    assert spent[3] == pytest.approx(plain + 0.0015, abs=1e-6)
