"""Many callers, one engine."""

from __future__ import annotations

import threading

import pytest

from ragdecode.decoding.events import DoneEvent, TokenEvent
from ragdecode.decoding.request import TARGET, Request, Result, Stats, TokenRecord, View
from ragdecode.errors import InputError, RunError
from ragdecode.pipeline.shared_engine import SharedEngine


class Counting:
    """An engine whose answers count to the length of the prompt, one token a step."""

    def __init__(self):
        self.active, self.cancelled, self.widths, self.fail = {}, set(), [], None

    def submit(self, request):
        if request.id == "refused":
            raise InputError("refused")
        assert request.id not in self.active, "an id was in flight twice"
        self.active[request.id] = [request, 0]

    def cancel(self, identity):
        self.cancelled.add(identity)

    def step(self):
        for identity in self.cancelled & set(self.active):
            del self.active[identity]
        self.cancelled.clear()
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        self.widths.append(len(self.active))
        events = []
        for identity, state in list(self.active.items()):
            request, count = state
            state[1] += 1
            events.append(TokenEvent(identity, TokenRecord(count, count, 0.0, {}, "model"), str(count)))
            if state[1] == len(request.views[TARGET].prompt):
                result = Result(identity, list(range(state[1])), "", "stop", [], Stats(), {})
                events.append(DoneEvent(identity, result))
                del self.active[identity]
        return events


def request(identity, length):
    return Request(identity, {TARGET: View([0] * length)})


def done(events):
    return [(event.request, len(event.result.tokens)) for event in events if isinstance(event, DoneEvent)]


@pytest.fixture
def inner():
    return Counting()


@pytest.fixture
def shared(inner):
    return SharedEngine(inner, max_batch=3)  # type: ignore[arg-type]


def test_requests_are_decoded_together_and_join_as_others_leave(inner, shared):
    lengths = [1, 5, 2, 2, 1]
    finished = done(shared.run(request(str(place), length) for place, length in enumerate(lengths)))
    assert sorted(finished) == [(str(place), length) for place, length in enumerate(lengths)]
    assert inner.widths == [3, 3, 3, 1, 1]


def test_requests_are_taken_only_when_there_is_room(shared):
    taken = []

    def source():
        for place in range(10):
            taken.append(place)
            yield request(str(place), 1)

    next(shared.run(source()))
    assert len(taken) <= 4  # those in flight and the one that waits


def test_no_requests(shared):
    assert list(shared.run([])) == []


def test_the_same_id_waits_for_its_namesake(inner, shared):
    assert done(shared.run([request("a", 2), request("a", 3)])) == [("a", 2), ("a", 3)]
    assert max(inner.widths) == 1


def test_closing_frees_the_slots_at_once(inner, shared):
    events = shared.run([request("a", 9), request("b", 9)])
    next(events)
    events.close()
    assert inner.active == {}
    assert done(shared.run([request("a", 1)])) == [("a", 1)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), RunError("no memory")])
def test_a_failure_in_a_step_leaves_a_usable_engine(inner, shared, error):
    events = shared.run([request("a", 9), request("b", 9)])
    next(events)
    inner.fail = error
    with pytest.raises(type(error)):
        list(events)
    assert inner.active == {}
    assert done(shared.run([request("a", 2)])) == [("a", 2)]


def test_running_out_of_memory_says_what_to_do(inner, shared):
    inner.fail = MemoryError()
    with pytest.raises(RunError, match=r"lower engine\.max_batch"):
        list(shared.run([request("a", 1)]))


def test_an_interrupt_between_events_frees_the_slots(inner, shared):
    def consume():
        for _ in shared.run([request("a", 9)]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert inner.active == {}


def test_a_refused_request_takes_its_own_batch_down_and_no_other(inner, shared):
    other = shared.run([request("other", 3)])
    next(other)
    with pytest.raises(InputError, match="refused"):
        list(shared.run([request("a", 5), request("refused", 1)]))
    assert list(inner.active) == ["other"]
    assert done(other) == [("other", 3)]


def test_a_failed_step_is_told_to_everybody_in_it(inner, shared):
    other = shared.run([request("other", 9)])
    next(other)
    inner.fail = MemoryError()
    with pytest.raises(RunError):
        list(shared.run([request("a", 5)]))
    with pytest.raises(RunError, match="beside another request"):
        list(other)


def test_two_streams_of_one_thread_do_not_block_each_other(inner, shared):
    first, second = shared.run([request("a", 3)]), shared.run([request("b", 2)])
    order = [next(first).request, next(second).request]
    assert done(second) == [("b", 2)]
    assert done(first) == [("a", 3)]
    assert order == ["a", "b"]
    assert 2 in inner.widths


def test_threads_share_the_batch(inner, shared):
    results = {}
    barrier = threading.Barrier(3)

    def work(name):
        barrier.wait()
        results[name] = done(shared.run([request(f"{name}{place}", 4 + place) for place in range(3)]))

    threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == {name: [(f"{name}{place}", 4 + place) for place in range(3)] for name in "xyz"}
    assert inner.active == {}
