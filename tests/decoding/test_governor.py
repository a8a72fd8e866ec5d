"""Governors: what they choose in simulated worlds, what they may lose at most, and that they change speed only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.speculation.fusion import Trie
from ragdecode.decoding.speculation.governor import FixedTree, Looked
from ragdecode.decoding.speculation.governor_throughput import Throughput
from ragdecode.decoding.speculation.governor_ucb import NONE, Bandit
from ragdecode.decoding.speculation.ledger import Ledger
from ragdecode.decoding.speculation.step_cost import StepCost, StepCosts
from ragdecode.spec.settings import NoSettings
from tests.decoding.drafting_worlds import FLAT, STEEP, Speaker, simulate
from tests.decoding.engines import TreeDrafter, backend, decode, prompt, request
from tests.decoding.test_model_drafters import ViewDrafter

COSTED = [Throughput, Bandit]


def never(kind, at):
    return 0.0


def always(kind, at):
    return 1.0


def mixed(kind, at):
    return (0.9, 0.6, 0.2)[kind]


def costs(table):
    return StepCosts({"main": table})


def test_nothing_is_fed_where_nothing_is_accepted_and_much_where_everything_is():
    cold = simulate(Throughput(costs(FLAT)), {"s": Speaker(never)}, FLAT, tokens=400)
    assert sum(cold.sizes[100:]) / len(cold.sizes[100:]) < 1.08  # roots, and rare probes
    hot = simulate(Throughput(costs(FLAT)), {"s": Speaker(always, length=15)}, FLAT, tokens=400)
    assert max(hot.sizes) == 16
    assert sum(hot.sizes[20:]) / len(hot.sizes[20:]) > 15


@pytest.mark.parametrize("cost", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("skill", [mixed, always, lambda kind, at: 0.3], ids=["mixed", "always", "low"])
def test_it_is_as_fast_as_the_best_fixed_size(cost, skill):
    fixed = max(
        simulate(FixedTree(), {"s": Speaker(skill)}, cost, tokens=800, nodes=nodes).speed()
        for nodes in (1, 2, 4, 8, 16)
    )
    governed = simulate(Throughput(costs(cost)), {"s": Speaker(skill)}, cost, tokens=800).speed()
    assert governed > 0.97 * fixed


@pytest.mark.parametrize("make", COSTED)
@pytest.mark.parametrize("cost", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize(("tokens", "batch"), [(200, 1), (700, 1), (200, 3)])
@pytest.mark.parametrize(
    "speakers",
    [
        {"s": Speaker(never)},
        {"s": Speaker(never, claim=0.99, fresh=True)},  # every token of a new class: nothing can be learnt
        {f"s{i}": Speaker(never, seconds=3e-4, claim=0.99, fresh=True) for i in range(4)},
        {"free": Speaker(never), "paid": Speaker(never, seconds=0.02, look=Looked("main", (200,), 4), claim=0.99)},
    ],
    ids=["plain", "deceitful", "slow", "paid"],
)
def test_never_more_than_three_percent_is_lost_where_nothing_is_accepted(make, cost, tokens, batch, speakers):
    governor = make(costs(cost))
    run = simulate(governor, [speakers] * batch, cost, tokens=tokens)
    assert sum(run.committed) == batch * tokens  # nothing was accepted, or it would be fewer steps
    assert len(run.committed) == tokens
    assert sum(run.spent) <= 1.03 * sum(run.plain)
    longer = simulate(governor, [speakers] * batch, cost, tokens=tokens, seed=1)  # the next answers of the engine
    assert sum(run.spent) + sum(longer.spent) <= 1.03 * (sum(run.plain) + sum(longer.plain))


@pytest.mark.parametrize("make", COSTED)
def test_gains_of_one_answer_do_not_pay_for_the_losses_of_the_next(make):
    governor = make(costs(FLAT))
    assert simulate(governor, {"s": Speaker(always)}, FLAT, tokens=600).speed() > 3
    run = simulate(governor, {"s": Speaker(never, claim=0.99)}, FLAT, tokens=300, seed=1)
    assert sum(run.spent) <= 1.03 * sum(run.plain)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=60))
def test_whoever_stays_within_the_account_keeps_the_promise(steps):
    ledger, worth, spent = Ledger(1.0), 0.0, 0.0
    for committed, boldness in steps:
        extra = boldness * max(0.0, ledger.left)  # any part of what is there
        ledger.book(committed, 1 + extra, 1.0)
        worth, spent = worth + committed, spent + 1 + extra
    assert spent <= 1.02 * worth + 2.0 + 1e-9


@pytest.mark.parametrize("make", COSTED)
def test_a_source_that_went_cold_recovers(make):
    def turning(kind, at):
        return 0.0 if at < 500 else 0.95

    run = simulate(make(costs(FLAT)), {"s": Speaker(turning)}, FLAT, tokens=2000)
    turn = 500
    assert run.speed(0, turn) > 0.97
    late = run.speed(len(run.spent) - 150)
    assert late > 2.5
    if make is Throughput:  # soon, too
        assert run.speed(turn + 60) > 2.5


def test_the_better_source_is_fed():
    good, bad = Speaker(lambda kind, at: 0.85), Speaker(lambda kind, at: 0.05)
    run = simulate(Throughput(costs(STEEP)), {"bad": bad, "good": good}, STEEP, tokens=800)
    alone = simulate(Throughput(costs(STEEP)), {"good": good}, STEEP, tokens=800)
    assert run.speed(50) > 0.93 * alone.speed(50)


def test_a_slow_drafter_is_asked_only_while_it_pays():
    useless = Speaker(never, seconds=1e-3)
    run = simulate(Throughput(costs(FLAT)), {"useless": useless}, FLAT, tokens=600)
    assert run.asked["useless"] < 100  # of 600 steps
    useful = Speaker(mixed, seconds=1e-3)
    run = simulate(Throughput(costs(FLAT)), {"useful": useful}, FLAT, tokens=600)
    assert run.asked["useful"] > 0.9 * len(run.spent)


@pytest.mark.parametrize(("seconds", "pays"), [(0.004, True), (0.2, False)])
def test_a_drafter_that_takes_passes_is_asked_if_its_gain_pays_for_them(seconds, pays):
    paid = Speaker(lambda kind, at: 0.8, length=4, seconds=seconds, look=Looked("main", (200,), 4))
    run = simulate(Throughput(costs(FLAT)), {"paid": paid}, FLAT, tokens=600)
    share = run.asked.get("paid", 0) / len(run.spent)
    assert share > 0.8 if pays else share < 0.05
    assert run.speed() > (1.5 if pays else 0.97)


def test_a_paid_drafter_is_not_asked_where_a_free_one_finds_the_same():
    free, paid = (
        Speaker(lambda kind, at: 0.97),
        Speaker(lambda kind, at: 0.97, seconds=0.01, look=Looked("main", (200,), 4)),
    )
    run = simulate(Throughput(costs(FLAT)), {"free": free, "paid": paid}, FLAT, tokens=800)
    assert run.asked["paid"] < 0.3 * run.asked["free"]


def slot_with(governor, scores, context=200):
    slot = governor.slot({"s": None})
    slot.begin([("main", context)], 16)
    slot.trie = Trie(0, max_depth=50, vocab_size=1000, end_tokens=frozenset())
    product, path = 1.0, []
    for score in scores:
        product *= score
        path.append(product)
    slot.trie.add("s", Draft(range(1, len(scores) + 1), range(-1, len(scores) - 1), path))
    slot.trie.judge(slot.acceptance)
    return slot


def test_trees_shrink_as_the_batch_grows():
    sizes = []
    for batch in (1, 2, 4, 8):
        governor = Throughput(costs(FLAT))
        slots = [slot_with(governor, [0.6] * 12) for _ in range(batch)]
        governor.choose(slots)
        sizes.append(sum(len(slot.kept) for slot in slots) / batch)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_in_a_batch_the_nodes_go_where_they_gain_most():
    governor = Throughput(costs(STEEP))
    sure, vague = slot_with(governor, [0.95] * 10), slot_with(governor, [0.3] * 10)
    governor.choose([sure, vague])
    assert len(sure.kept) > 4 * max(1, len(vague.kept))


def test_a_context_that_makes_nodes_dear_makes_trees_small():
    dear = StepCost((1, 2, 4, 8, 16), (0.02,) * 5, (1e-6, 4e-6, 1e-5, 3e-5, 6e-5))
    governor = Throughput(costs(dear))
    near, far = slot_with(governor, [0.7] * 12, 10), slot_with(governor, [0.7] * 12, 4000)
    governor.choose([near])
    governor.choose([far])
    assert len(far.kept) < len(near.kept)


def test_the_bandit_finds_the_best_arm_and_finds_it_again():
    def world(kind, at):
        return 0.95 if at < 6000 else 0.0

    def other(kind, at):
        return 0.95 if at >= 6000 else 0.0

    governor = Bandit(costs(FLAT), memory=200)
    speakers = {"early": Speaker(world, length=7), "late": Speaker(other, length=7)}
    run = simulate(governor, speakers, FLAT, tokens=14000, nodes=8)
    oracle = simulate(
        FixedTree(), {"one": Speaker(lambda kind, at: 0.95, length=7)}, FLAT, tokens=3000, nodes=8
    ).speed()
    turn = next(i for i in range(len(run.committed)) if sum(run.committed[: i + 1]) >= 6000)
    assert run.speed(turn // 2, turn) > 0.85 * oracle
    assert run.speed(len(run.spent) - 500) > 0.85 * oracle
    assert "late" in governor.arm[0]


def test_the_bandit_ends_without_drafts_where_they_do_not_pay():
    governor = Bandit(costs(STEEP))
    run = simulate(governor, {"a": Speaker(never), "b": Speaker(never)}, STEEP, tokens=1500)
    assert sum(size == 1 for size in run.sizes[500:]) > 0.9 * len(run.sizes[500:])
    slot = governor.slot({"a": None, "b": None})
    slot.begin([("main", 10)], 8)
    assert set(governor.arms([slot])) == {NONE, *(((g), n) for g in (("a",), ("b",), ("a", "b")) for n in (2, 4, 8))}


@pytest.mark.parametrize("make", COSTED)
def test_a_failed_request_teaches_nothing(make):
    governor = make(costs(FLAT))
    slot = slot_with(governor, [0.9] * 5)
    governor.ask([slot], paid=False)
    governor.choose([slot])
    left = governor.left([slot])
    governor.settle([slot])  # it was never verified
    assert governor.left([slot]) == left


class Window(Drafter):
    """Wants all of its nodes fed, though none is likely, and says so."""

    part_name = "window"

    def __init__(self):
        super().__init__(NoSettings())
        self.fed = []

    def start(self, request):
        return _WindowSession(self)


class _WindowSession(DraftSession):
    def __init__(self, parent):
        self.parent = parent

    def propose(self, nodes):
        return Draft([5, 6, 7], [-1, 0, -1], [0.01, 0.001, 0.01], whole=True)

    def observe(self, verified):
        self.parent.fed.append(len(verified.tokens))

    def rewind(self, length):
        pass


VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
TINY = StepCosts({"main": StepCost((1, 2, 4, 8, 16), (0.01, 0.0101, 0.0102, 0.0104, 0.0108), (0.0,) * 5, 0.0001)})


def policies():
    return [FixedTree(), Throughput(TINY), Bandit(TINY), Throughput(costs(STEEP)), Bandit(costs(STEEP))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", range(5))
def test_tokens_are_the_same_under_every_policy_alone_and_in_a_batch(temperature, place):
    rules = [Cad(CadSettings(alpha=0.5))]
    settings = {"rules": rules, "sampling": Sampling(temperature=temperature, seed=3), "max_new_tokens": 24}
    plain = {}
    for i in range(3):
        views = {"with_context": prompt(i, 21 + i), "without_context": prompt(9, 8)}
        plain[f"r{i}"] = (views, decode(Engine({"main": backend()}), request(f"r{i}", views, **settings))[f"r{i}"])
    items = [
        request(
            name,
            views,
            drafters=[TreeDrafter(found.tokens, i), ViewDrafter("without_context", 2), Window()],
            max_draft_nodes=12,
            **settings,
        )
        for i, (name, (views, found)) in enumerate(plain.items())
    ]
    governor = policies()[place]
    engine = Engine({"main": backend()}, governor=governor, max_batch=2)
    for _ in range(2):  # the second time, the governor knows something
        for name, result in decode(engine, *items).items():
            assert result.tokens == plain[name][1].tokens
            assert [r.logprob for r in result.records] == pytest.approx(
                [r.logprob for r in plain[name][1].records], abs=1e-9
            )


def test_a_governed_engine_drafts_what_is_right_and_counts_it():
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=60))["a"]
    drafters = [TreeDrafter(plain.tokens, 1)]
    item = request("a", VIEWS, drafters=drafters, max_new_tokens=60, max_draft_nodes=12)
    stats = decode(Engine({"main": backend()}, governor=Throughput(TINY)), item)["a"].stats
    assert stats.accepted > 20
    assert stats.steps + stats.drafted == stats.nodes
    assert stats.asked["trees"] > 0
    assert 0 < stats.draft_seconds < 60
    dear = StepCosts({"main": StepCost((1, 2), (0.01, 1.0), (0.0, 0.0))})
    stats = decode(Engine({"main": backend()}, governor=Throughput(dear)), item)["a"].stats
    assert (stats.drafted, stats.nodes, stats.steps) == (0, 60, 60)


def test_a_draft_that_is_wanted_as_a_whole_is_fed_as_a_whole_or_not_at_all():
    window = Window()
    item = request("a", VIEWS, drafters=[window], max_new_tokens=40, max_draft_nodes=8)
    decode(Engine({"main": backend()}, governor=Throughput(TINY)), item)
    assert window.fed[1] == 4  # it is worth a try
    assert 4 in window.fed[1:6]


def test_prompts_that_join_and_requests_without_drafters_share_the_steps():
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=20))["a"].tokens
    items = [
        request("a", VIEWS, drafters=[TreeDrafter(plain, 1)], max_new_tokens=20),
        request("b", {"with_context": prompt(7, 90)}, max_new_tokens=20),
        request("c", VIEWS, drafters=[TreeDrafter(plain, 2)], max_new_tokens=20, max_draft_nodes=1),
    ]
    results = decode(Engine({"main": backend()}, governor=Throughput(TINY), prefill_tokens=16), *items)
    assert results["a"].tokens == results["c"].tokens == plain
    assert results["b"].stats.asked == results["c"].stats.asked == {}


def test_what_drafters_take_is_put_into_proportion_to_how_fast_passes_are_now():
    """On a machine that is ten times as busy as when its table was made, both take ten times as long."""
    asks = []
    for busy in (1, 10):
        governor = Throughput(costs(FLAT))
        slot = governor.slot({"s": None})
        for _ in range(60):
            slot.begin([("main", 200)], 8)
            asks.append(len(governor.ask([slot], paid=False)[0]))
            slot.asked = {"s": 4e-4 * busy} if asks[-1] else {}
            governor.choose([slot])
            slot.told = True
            governor.settle([slot], busy * FLAT.seconds([(1, 200)]))
    assert asks[:60] == asks[60:]
    assert 0 < sum(asks[:60]) < 60


@pytest.mark.parametrize("make", COSTED)
def test_draws_that_are_tested_are_always_asked_for_and_never_cut(make):
    """Else answers of a seed would depend on the batch and on timing."""
    governor = make(costs(StepCost((1, 2), (0.01, 1.0), (0.0, 0.0))))
    slot = governor.slot({"view": Looked("main", (10,), 4), "free": None})
    for _ in range(30):
        slot.begin([("main", 50)], 8, draws=True)
        names = [governor.ask([slot], paid=paid)[0] for paid in (False, True)]
        assert names == [["free"], ["view"]]
        slot.asked, slot.drawn, slot.told = {"view": 0.05, "free": 0.0}, 5, True
        governor.choose([slot])
        governor.settle([slot])
        assert slot.kept == []
