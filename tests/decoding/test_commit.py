"""Stops, monitors' actions, rollback: what is committed, what is shown, what the caches hold."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import ActionEvent, DoneEvent, RetractEvent, TokenEvent
from ragdecode.decoding.monitor import Accepted, Flag, Monitor, MonitorSession, Retrieve, Rewind, Stop
from ragdecode.decoding.request import Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt, request
from tests.reference import naive

VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
CAD = [Cad(CadSettings(alpha=0.5))]
LOOKUP = PromptLookup(PromptLookupSettings())


def letters(tokens):
    """A detokenizer of one letter a token."""
    return "".join(chr(ord("A") + token % 26) for token in tokens)


class Scripted(Monitor):
    """Calls a function on every token, and at the end."""

    part_name = "scripted"

    def __init__(self, act: Callable, last: Callable = lambda text: None, hold: int | None = None) -> None:
        super().__init__(NoSettings())
        self.act, self.last, self.hold = act, last, hold
        self.sessions: list[ScriptedSession] = []

    def start(self, request):
        self.sessions.append(ScriptedSession(self))
        return self.sessions[-1]


class ScriptedSession(MonitorSession):
    def __init__(self, parent):
        self.parent, self.seen, self.rewinds = parent, [], []

    def observe(self, token: Accepted):
        self.seen.append(token)
        return self.parent.act(self, token)

    def finish(self, text):
        return self.parent.last(self)

    def released(self):
        return None if self.parent.hold is None else len(self.seen) // self.parent.hold * self.parent.hold

    def rewind(self, length):
        self.rewinds.append(length)
        del self.seen[length:]

    def record(self):
        return [token.token for token in self.seen]


def plain(max_new_tokens=24, **settings):
    return decode(
        Engine({"main": backend()}), request("a", VIEWS, rules=CAD, max_new_tokens=max_new_tokens, **settings)
    )["a"]


@pytest.mark.parametrize("at", [0, 1, 5, 12])
def test_an_end_token_at_any_depth_of_a_draft_ends_the_answer_and_is_not_part_of_it(at):
    tokens = plain().tokens
    end = tokens[at]
    expected = tokens[: tokens.index(end)]
    for nodes in (1, 4, 32):
        result = plain(
            drafters=[TreeDrafter(tokens, 1)], max_draft_nodes=nodes, end_tokens=frozenset([end]), detokenize=letters
        )
        assert result.tokens == expected
        assert result.text == letters(expected)
        assert result.finish_reason == "stop"


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_the_length_limit_cuts_inside_a_draft(limit):
    tokens = plain().tokens
    result = plain(limit, drafters=[TreeDrafter(tokens, 1)], max_draft_nodes=32)
    assert result.tokens == tokens[:limit]
    assert result.finish_reason == "length"


@pytest.mark.parametrize("start", [0, 3, 9])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_stop_string_across_drafted_tokens_is_cut_before_it(start, length):
    tokens = plain().tokens
    text = letters(tokens)
    stop = text[start : start + length]
    expected = text[: text.index(stop)]
    for nodes in (1, 32):
        events = list(
            Engine({"main": backend()}).run(
                [
                    request(
                        "a",
                        VIEWS,
                        rules=CAD,
                        max_new_tokens=24,
                        detokenize=letters,
                        stop_strings=[stop],
                        drafters=[TreeDrafter(tokens, 2)],
                        max_draft_nodes=nodes,
                    )
                ]
            )
        )
        result = events[-1].result
        assert result.text == expected
        assert letters(result.tokens) == expected
        assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == expected
        assert result.finish_reason == "stop"


@pytest.mark.parametrize("to", [0, 2, 6])
@pytest.mark.parametrize("nodes", [1, 16])
def test_a_rewind_decodes_again_under_changed_settings(to, nodes):
    first = plain().tokens

    def act(session, token):
        if token.position == 6 and not session.rewinds:
            return Rewind(to, overrides={"cad.alpha": 2.0}, bans=[first[to]])
        return None

    monitor = Scripted(act)
    events = list(
        Engine({"main": backend()}).run(
            [
                request(
                    "a",
                    VIEWS,
                    rules=CAD,
                    monitors=[monitor],
                    drafters=[TreeDrafter(first, 3), LOOKUP],
                    max_draft_nodes=nodes,
                    max_new_tokens=24,
                    detokenize=letters,
                )
            ]
        )
    )
    result = events[-1].result
    stock = {name: (model(), ids) for name, ids in VIEWS.items()}

    def allowed(tokens):
        mask = torch.ones(VOCAB, dtype=torch.bool)
        if len(tokens) == to:
            mask[first[to]] = False
        return mask

    rest = {name: (stock_model, [*ids, *first[:to]]) for name, (stock_model, ids) in stock.items()}
    expected, _ = naive.greedy(rest, naive.cad(2.0), (), 24 - to, allowed=lambda t: allowed([*first[:to], *t]))
    assert result.tokens == first[:to] + expected
    assert monitor.sessions[0].rewinds == [to]
    assert result.monitors["scripted"] == result.tokens
    # the reader can follow: pieces, minus what was retracted, are the answer
    shown = ""
    for event in events:
        if isinstance(event, TokenEvent):
            shown += event.text
        elif isinstance(event, RetractEvent):
            shown = shown[: event.characters]
    assert shown == result.text == letters(result.tokens)


def test_a_rewind_draws_new_noise_and_the_same_epoch_repeats():
    sampling = Sampling(temperature=1.0, seed=8)
    once = plain(sampling=sampling).tokens
    again = plain(sampling=sampling).tokens
    rewound = plain(
        sampling=sampling,
        monitors=[Scripted(lambda s, t: Rewind(0) if t.position == 9 and not s.rewinds else None)],
    ).tokens
    assert once == again
    assert rewound != once


def test_rewinds_are_limited_and_the_limit_is_noted():
    result = plain(monitors=[Scripted(lambda s, t: Rewind(1) if t.position == 3 else None)], max_rewinds=2)
    assert len(result.tokens) == 24
    assert sum("rewound" in note for note in result.notes) == 2
    assert any("used up" in note for note in result.notes)


def test_a_stop_action_keeps_what_it_says_even_inside_a_draft():
    tokens = plain().tokens
    result = plain(
        monitors=[Scripted(lambda s, t: Stop(keep=3) if t.position == 5 else None)],
        drafters=[TreeDrafter(tokens, 0)],
        max_draft_nodes=32,
        detokenize=letters,
    )
    assert result.tokens == tokens[:3]
    assert result.text == letters(tokens[:3])
    assert result.finish_reason == "monitor"


def test_a_monitor_sees_each_accepted_token_once_with_the_undrafted_signals():
    tokens = plain().tokens
    seen = []
    for drafters in ([], [TreeDrafter(tokens, 4), LOOKUP]):
        monitor = Scripted(lambda s, t: None)
        plain(monitors=[monitor], drafters=drafters, max_draft_nodes=16)
        seen.append(monitor.sessions[0].seen)
    assert [t.token for t in seen[0]] == [t.token for t in seen[1]] == tokens
    assert [t.logprob for t in seen[0]] == pytest.approx([t.logprob for t in seen[1]], abs=1e-9)


def test_held_tokens_are_shown_only_when_released():
    counts = []

    def act(session, token):
        counts.append(token.position + 1)

    engine = Engine({"main": backend()})
    engine.submit(
        request("a", VIEWS, monitors=[Scripted(act, hold=5)], max_new_tokens=12, detokenize=letters, rules=CAD)
    )
    shown = 0
    while engine.busy:
        events = engine.step()
        shown += sum(isinstance(event, TokenEvent) for event in events)
        if not any(isinstance(event, DoneEvent) for event in events):
            assert shown == len(counts) // 5 * 5
    assert shown == 12


def test_the_last_word_of_a_monitor_can_rewind_a_finished_answer():
    first = plain(8).tokens
    monitor = Scripted(lambda s, t: None, last=lambda s: Rewind(4, bans=[first[4]]) if not s.rewinds else None)
    result = plain(8, monitors=[monitor])
    assert result.tokens[:4] == first[:4]
    assert result.tokens[4] != first[4]
    assert result.finish_reason == "length"


def test_flags_are_events_and_change_nothing():
    events = list(
        Engine({"main": backend()}).run(
            [
                request(
                    "a",
                    VIEWS,
                    rules=CAD,
                    monitors=[Scripted(lambda s, t: Flag({"at": t.position}) if t.position == 2 else None)],
                    max_new_tokens=24,
                )
            ]
        )
    )
    assert [e.detail for e in events if isinstance(e, ActionEvent)] == [{"at": 2}]
    assert events[-1].result.tokens == plain().tokens


@pytest.mark.parametrize("grow", [0, 40])
def test_retrieving_again_goes_on_under_the_new_prompt(grow):
    new = VIEWS["with_context"][:9] + prompt(77, 12 + grow)
    first = plain().tokens
    result = plain(
        monitors=[Scripted(lambda s, t: Retrieve("more") if t.position == 4 else None)],
        retrieve=lambda query: {"with_context": View(new)},
        drafters=[TreeDrafter(first, 1)],
    )
    stock = {
        "with_context": (model(), [*new, *first[:5]]),
        "without_context": (model(), [*VIEWS["without_context"], *first[:5]]),
    }
    expected, _ = naive.greedy(stock, naive.cad(0.5), (), 19)
    assert result.tokens == first[:5] + expected


@pytest.mark.parametrize("seed", range(8))
def test_caches_after_drafts_and_rewinds_equal_those_of_a_fresh_run(seed):
    """The rows are looked into: continuing from them predicts what the whole text predicts."""
    rng = random.Random(seed)
    tokens = plain(30).tokens
    mine = backend()
    rewinds = {rng.randrange(4, 28): rng.randrange(4) for _ in range(3)}
    monitor = Scripted(lambda s, t: Rewind(rewinds.pop(t.position)) if t.position in rewinds else None)
    engine = Engine({"main": mine})
    engine.submit(
        request(
            "a",
            VIEWS,
            rules=CAD,
            monitors=[monitor],
            drafters=[TreeDrafter(tokens, seed)],
            max_draft_nodes=12,
            max_new_tokens=30,
        )
    )
    for _ in range(rng.randrange(3, 12)):
        engine.step()
    active = engine._active[0]
    for row in active.rows.values():
        text = [*row.prompt, *active.tokens]
        assert row.cached == len(text) - 1
        segment = Segment(row.handle, row.cached, [text[-1]], [0], None, [0])
        got = torch.log_softmax(mine.forward([segment]).logits[0], -1)
        assert (got - naive.next_log_probs(model(), text)).abs().max() < 1e-5
        fresh = mine.open_row(len(text))
        expected = mine.forward([Segment(fresh, 0, text, range(len(text)), None, [len(text) - 1])]).logits[0]
        assert (got - torch.log_softmax(expected, -1)).abs().max() < 1e-9


def test_cancelling_frees_the_rows_and_leaves_the_others_alone():
    mine = backend()
    engine = Engine({"main": mine}, max_batch=2)
    for name in "abc":
        engine.submit(request(name, VIEWS, rules=CAD, max_new_tokens=24))
    engine.step()
    engine.cancel("a")
    engine.cancel("c")
    results = {}
    while engine.busy:
        results.update({e.request: e.result for e in engine.step() if isinstance(e, DoneEvent)})
    assert results["a"].finish_reason == results["c"].finish_reason == "cancelled"
    assert results["b"].tokens == plain().tokens
    assert not mine._rows


def test_leaving_the_iterator_frees_everything():
    mine = backend()
    engine = Engine({"main": mine})
    events = engine.run([request("a", VIEWS, max_new_tokens=24), request("b", VIEWS, max_new_tokens=24)])
    next(events)
    events.close()
    assert not engine.busy
    assert not mine._rows


def test_an_interrupt_inside_a_pass_frees_everything(monkeypatch):
    mine = backend()
    engine = Engine({"main": mine})
    calls = []
    forward = mine.forward

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    monkeypatch.setattr(mine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(engine.run([request("a", VIEWS, max_new_tokens=24)]))
    assert not mine._rows
    assert decode(engine, request("a", VIEWS, rules=CAD, max_new_tokens=24))["a"].tokens == plain().tokens


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": {"with_context": prompt(1, 5)}, "rules": CAD}, "lacks the view 'without_context'"),
        ({"views": {"with_context": []}}, "is empty"),
        ({"views": {"with_context": prompt(1, 250)}}, "window of 256"),
        ({"views": {"with_context": [VOCAB]}}, "outside the 97 known"),
        ({"views": VIEWS, "stop_strings": ["x"]}, "need a detokenizer"),
        ({"views": VIEWS, "max_draft_nodes": 0}, "at least 1"),
    ],
)
def test_requests_that_cannot_run_are_refused_when_submitted(settings, message):
    views = settings.pop("views")
    engine = Engine({"main": backend()})
    with pytest.raises(InputError, match=message):
        engine.submit(request("a", views, max_new_tokens=24, **settings))
    assert not engine.busy


def test_an_id_in_flight_cannot_be_used_twice():
    engine = Engine({"main": backend()})
    engine.submit(request("a", VIEWS))
    with pytest.raises(InputError, match="in flight already"):
        engine.submit(request("a", VIEWS))
