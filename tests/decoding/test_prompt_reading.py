"""What rules read in prompts and remember of nodes: each place once, in order, and what the model predicts there."""

from __future__ import annotations

import copy

import pytest
import torch

from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve, Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.ruling import merged
from ragdecode.spec.settings import NoSettings, Settings
from tests.decoding.engines import TreeDrafter, backend, decode, model, prompt
from tests.reference.llama import PlainLlama
from tests.reference.steps import all_log_probs

PROMPTS = {"with_context": prompt(1, 41), "rag": prompt(2, 23)}
WANTED = {"with_context": [range(20, 30), range(2, 7), range(5, 9)], "rag": [range(0, 100)]}


class ReaderSettings(Settings):
    strength: float = 0.0


class Reader(Rule):
    """Notes what it is told; composes nothing, or lowers token 3 where a monitor says so."""

    part_name = "reader"
    reads_hidden = True
    remembers = True

    def __init__(self, settings=None, wanted=None, started=None) -> None:
        super().__init__(settings or ReaderSettings())
        self.wanted = WANTED if wanted is None else wanted
        self.started: list[Reader] = [] if started is None else started
        self.told: list[tuple[str, int, torch.Tensor, torch.Tensor]] = []
        self.seen: list[tuple[list[int], torch.Tensor]] = []

    @property
    def views(self):
        return tuple(view for view in self.wanted if view != "with_context")

    def start(self, request):
        begun = copy.copy(self)
        begun.told, begun.seen = [], []
        self.started.append(begun)
        return begun

    def reads(self, request):
        return self.wanted

    def read(self, view, place, log_probs, hidden):
        assert not self.seen  # before the first token is composed
        self.told += [(view, place + i, log_probs[i].clone(), hidden[i].clone()) for i in range(len(log_probs))]

    def remember(self, nodes):
        return nodes.log_probs["with_context"]

    def compose(self, nodes):
        self.seen += [(nodes.path(node), nodes.past(node)) for node in range(len(nodes.composed))]
        return nodes.composed


def places(reader: Reader, view: str) -> list[int]:
    return [place for name, place, *_ in reader.told if name == view]


def check(reader: Reader, prompts=PROMPTS, wanted=WANTED) -> None:
    """Every place once, in order, and what the plain model says of it."""
    assert {view for view, *_ in reader.told} == set(wanted)
    plain = PlainLlama(model())
    for view, spans in wanted.items():
        last = len(prompts[view]) - 1
        expected = sorted({place for span in spans for place in span if 0 <= place < last})
        assert places(reader, view) == expected
        log_probs, states = all_log_probs(plain, prompts[view]), plain.states(prompts[view])
        for name, place, told, hidden in reader.told:
            if name == view:
                assert torch.allclose(told, log_probs[place], atol=1e-9)
                assert torch.allclose(hidden, states[place], atol=1e-9)


def remembered(reader: Reader, ids=PROMPTS["with_context"], skip: int = 0) -> None:
    """The past of a node is what the model predicts after each token before it, and after it."""
    plain, known = PlainLlama(model()), {}
    for path, past in reader.seen[skip:]:
        key = tuple(path)
        if key not in known:
            known[key] = all_log_probs(plain, [*ids, *path])[len(ids) - 1 :]
        assert past.shape == known[key].shape
        assert torch.allclose(past, known[key], atol=1e-9)


def request(name="a", rules=(), prompts=PROMPTS, **settings) -> Request:
    return Request(name, {view: View(ids) for view, ids in prompts.items()}, rules=rules, **settings)


@pytest.mark.parametrize("budget", [1, 3, 7, 16, 40, 512])
def test_every_place_is_told_once_whatever_the_chunks(budget):
    reader = Reader()
    engine = Engine({"main": backend()}, prefill_tokens=budget)
    decode(engine, request(rules=[reader], max_new_tokens=3))
    (begun,) = reader.started
    check(begun)
    remembered(begun)


@pytest.mark.parametrize("spans", [[], [range(0, 0)], [range(40, 41)], [range(-3, 1)], [range(39, 60)], [range(5, 2)]])
def test_ranges_may_reach_beyond_the_prompt_or_be_empty(spans):
    reader = Reader(wanted={"with_context": spans})
    decode(Engine({"main": backend()}, prefill_tokens=11), request(rules=[reader], max_new_tokens=2))
    expected = [place for span in spans for place in span if 0 <= place < 40]
    assert places(reader.started[0], "with_context") == expected


def test_ranges_are_merged():
    assert merged([range(5, 9), range(0, 3), range(2, 4), range(9, 12), range(30, 40)], 35) == [
        range(0, 4), range(5, 12), range(30, 35)]  # fmt: skip
    assert merged([range(-5, 1), range(3, 3), range(50, 60)], 20) == [range(0, 1)]


@pytest.mark.parametrize("budget", [9, 512])
def test_two_rules_read_their_own_places(budget):
    one, other = Reader(), Reader(wanted={"with_context": [range(8, 22)]})
    decode(
        Engine({"main": backend()}, prefill_tokens=budget), request(rules=[one, other], max_new_tokens=2)
    )  # fmt: skip
    check(one.started[0])
    check(other.started[0], wanted=other.wanted)


@pytest.mark.parametrize("kept", [0, 1 << 30])
@pytest.mark.parametrize("budget", [10, 512])
def test_known_prefixes_are_read_where_a_rule_wants_them(kept, budget):
    engine = Engine({"main": backend()}, prefill_tokens=budget, prefix_bytes=kept)
    answers, reused = [], []
    for number in range(3):
        reader = Reader(wanted={"with_context": [range(25, 31)]})
        rules = [reader] if number else []
        result = decode(engine, request(f"r{number}", rules, max_new_tokens=4))[f"r{number}"]
        answers.append(result.tokens)
        reused.append(result.stats.reused_tokens)
        if number:
            check(reader.started[0], wanted=reader.wanted)
    assert answers[0] == answers[1] == answers[2]
    # what comes before the first place that is read is taken over
    assert reused == ([0, 25, 25] if kept else [0, 0, 0])


@pytest.mark.parametrize("budget", [8, 64])
def test_rows_in_flight_and_late_arrivals_keep_to_themselves(budget):
    engine = Engine({"main": backend()}, prefill_tokens=budget, prefix_bytes=1 << 30)
    other = {"with_context": [*PROMPTS["with_context"][:33], 5, 6, 7], "rag": PROMPTS["rag"][:9]}
    readers = [Reader(), Reader(), Reader(wanted={"with_context": [range(30, 35)]})]
    waiting = [
        request("r0", [readers[0]], max_new_tokens=6),
        request("r1", [readers[1]], other, max_new_tokens=5, drafters=[TreeDrafter([4, 5, 6, 7], 3)]),
        request("r2", [readers[2]], other, max_new_tokens=4),
    ]
    for step in range(100):
        if waiting and step % 3 == 0:
            engine.submit(waiting.pop(0))
        engine.step()
        if not waiting and not engine.busy:
            break
    check(readers[0].started[0])
    check(readers[1].started[0], other)
    check(readers[2].started[0], other, readers[2].wanted)
    remembered(readers[0].started[0])
    remembered(readers[1].started[0], other["with_context"])


@pytest.mark.parametrize("budget", [8, 512])
@pytest.mark.parametrize("seed", range(3))
def test_the_past_is_that_of_a_node_in_any_tree(budget, seed):
    plain = decode(Engine({"main": backend()}), request(max_new_tokens=14))["a"].tokens
    reader = Reader()
    item = request(rules=[reader], drafters=[TreeDrafter(plain, seed)], max_draft_nodes=12, max_new_tokens=14)
    result = decode(Engine({"main": backend()}, prefill_tokens=budget), item)["a"]
    assert result.tokens == plain
    assert result.stats.drafted > 5
    remembered(reader.started[0])
    # the last few rows alone, across what is accepted and what is drafted
    for path, past in reader.started[0].seen:
        assert len(past) == len(path) + 1


def test_a_drafter_that_looks_at_the_same_row_leaves_the_reading_to_the_rule():
    plain = decode(Engine({"main": backend()}), request(max_new_tokens=14))["a"].tokens
    for budget in (6, 64, 512):
        reader = Reader()
        drafter = ViewDrafter(ViewDrafterSettings(name="rag", gain=0.0))
        item = request(rules=[reader], drafters=[drafter], max_new_tokens=14)
        result = decode(Engine({"main": backend()}, prefill_tokens=budget), item)["a"]
        assert result.tokens == plain
        assert result.stats.drafted > 0
        check(reader.started[0])
        remembered(reader.started[0])


class Acting(Monitor):
    """Does one thing at the sixth token."""

    part_name = "acting"

    def __init__(self, action) -> None:
        super().__init__(NoSettings())
        self.action = action

    def start(self, request):
        return ActingSession(self.action)


class ActingSession(MonitorSession):
    def __init__(self, action) -> None:
        self.action, self.done = action, False

    def observe(self, token):
        if token.position != 5 or self.done:
            return None
        self.done = True
        return self.action

    def rewind(self, length):
        pass

    def record(self):
        return None


@pytest.mark.parametrize("budget", [7, 512])
@pytest.mark.parametrize("drafted", [False, True])
def test_prompts_that_a_monitor_replaces_are_read_again(budget, drafted):
    ids = {"with_context": [*PROMPTS["with_context"][:12], *prompt(7, 40)], "rag": prompt(8, 15)}
    reader = Reader()
    item = request(
        rules=[reader],
        monitors=[Acting(Retrieve("more"))],
        drafters=[TreeDrafter([3, 4, 5] * 6, 2)] if drafted else [],
        max_new_tokens=12,
        retrieve=lambda query: {view: View(text) for view, text in ids.items()},
    )
    result = decode(Engine({"main": backend()}, prefill_tokens=budget), item)["a"]
    assert len(result.tokens) == 12
    first, second = reader.started
    check(first)
    check(second, ids)
    plain = PlainLlama(model())
    before = all_log_probs(plain, [*PROMPTS["with_context"], *result.tokens[:6]])[40:46]
    for path, past in second.seen:
        # what predicted the tokens from before is kept as it was
        after = all_log_probs(plain, [*ids["with_context"], *path])[len(ids["with_context"]) - 1 :]
        assert torch.allclose(past, torch.cat([before, after[6:]]), atol=1e-9)


@pytest.mark.parametrize("budget", [7, 512])
@pytest.mark.parametrize("changed", [{}, {"sampling.temperature": 0.5}, {"reader.strength": 1.0}])
def test_rewinds_forget_and_changed_rules_read_again(budget, changed):
    first = Reader()
    started = first.started
    item = request(
        rules=[first],
        monitors=[Acting(Rewind(to=3, overrides=changed, bans=[9]))],
        drafters=[TreeDrafter([3, 4, 5] * 6, 2)],
        sampling=Sampling(temperature=0.9),
        max_new_tokens=11,
    )
    Reader.__init__.__defaults__ = (None, None, started)  # a changed rule is made anew, and is found in the same list
    try:
        result = decode(Engine({"main": backend()}, prefill_tokens=budget), item)["a"]
    finally:
        Reader.__init__.__defaults__ = (None, None, None)
    assert len(result.tokens) == 11
    assert len(started) == (2 if "reader.strength" in changed else 1)
    for begun in started:
        check(begun)
        remembered(begun)
    assert len({len(path) for path, _ in started[-1].seen}) > 6


class Failing:
    """A backend that fails now and then, before or after its pass."""

    def __init__(self, inner, when: set[int]) -> None:
        self.inner, self.when, self.calls = inner, when, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def forward(self, *args, **settings):
        self.calls += 1
        if self.calls in self.when:
            raise MemoryError
        output = self.inner.forward(*args, **settings)
        if -self.calls in self.when:
            raise MemoryError
        return output


@pytest.mark.parametrize("when", [{1}, {2, -4}, {-1, -2, 3, 6}, {-5, -6, -7}])
@pytest.mark.parametrize("second", [False, True])
def test_after_a_failed_pass_nothing_is_told_twice(when, second):
    from ragdecode.errors import RunError

    failing = Failing(backend(), when)
    engine = Engine({"main": backend(), "b": failing} if second else {"main": failing}, prefill_tokens=24)
    reader = Reader()
    views = {
        "with_context": View(PROMPTS["with_context"]),
        "rag": View(PROMPTS["rag"], model="b" if second else "main"),
    }
    engine.submit(Request("a", views, rules=[reader], max_new_tokens=6))
    results, failures = {}, 0
    for _ in range(60):
        try:
            results |= {event.request: event.result for event in engine.step() if hasattr(event, "result")}
        except RunError:
            failures += 1
        if not engine.busy:
            break
    assert failures == len([one for one in when if abs(one) <= failing.calls])
    check(reader.started[0])
    assert results["a"].tokens == decode(Engine({"main": backend()}), request(max_new_tokens=6))["a"].tokens
