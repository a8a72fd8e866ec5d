"""Actions, stops and rewinds in every order: the answer, what is shown and what monitors record stay one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import ActionEvent, DoneEvent, RetractEvent, TokenEvent
from ragdecode.decoding.monitor import Flag, Retrieve, Rewind, Stop
from ragdecode.decoding.request import Sampling, View
from tests.decoding.engines import TreeDrafter, backend, model, prompt, request
from tests.decoding.test_commit import CAD, LOOKUP, VIEWS, Scripted, letters, plain
from tests.reference import naive


@pytest.mark.parametrize("nodes", [1, 12])
def test_going_on_from_the_end_never_exceeds_the_length(nodes):
    tokens = plain(8).tokens
    monitor = Scripted(lambda s, t: None, last=lambda s: Rewind(len(s.seen)))
    result = plain(8, monitors=[monitor], drafters=[TreeDrafter(tokens, 1)], max_draft_nodes=nodes)
    assert result.tokens == tokens
    assert result.finish_reason == "length"


@pytest.mark.parametrize("nodes", [1, 12])
def test_a_monitor_can_go_on_past_an_end_token(nodes):
    tokens = plain().tokens
    end = tokens[4]
    first = tokens.index(end)
    monitor = Scripted(lambda s, t: None, last=lambda s: None if s.rewinds else Rewind(len(s.seen), bans=[end]))
    result = plain(
        10,
        monitors=[monitor],
        end_tokens=frozenset([end]),
        drafters=[TreeDrafter(tokens, 2, end)],
        max_draft_nodes=nodes,
    )
    assert result.tokens[:first] == tokens[:first]
    assert len(result.tokens) > first
    assert end not in result.tokens


@pytest.mark.parametrize("to", [5, 99])
def test_a_rewind_or_stop_beyond_the_answer_keeps_all_of_it(to):
    tokens = plain(12).tokens
    once = plain(12, monitors=[Scripted(lambda s, t: Rewind(to) if t.position == 4 and not s.rewinds else None)])
    assert once.tokens == tokens
    assert len(once.records) == 12
    stopped = plain(12, monitors=[Scripted(lambda s, t: Stop(to) if t.position == 4 else None)])
    assert stopped.tokens == tokens[:5]


def test_bans_of_repeated_rewinds_to_one_place_add_up():
    seen = []

    def act(session, token):
        if token.position == 3 and len(seen) < 3:
            seen.append(token.token)
            return Rewind(3, bans=[token.token])
        return None

    result = plain(8, monitors=[Scripted(act)], drafters=[LOOKUP])
    assert len(set(seen)) == 3
    assert result.tokens[3] not in seen
    best = naive.greedy({n: (model(), i) for n, i in VIEWS.items()}, naive.cad(0.5), (), 4)[1][3].topk(4).indices
    assert [*seen, result.tokens[3]] == best.tolist()


def test_every_monitor_has_its_last_word():
    asked = []

    def say(name, action=None):
        def last(session):
            asked.append(name)
            return action

        return Scripted(lambda s, t: None, last=last)

    plain(6, monitors=[say("flag", Flag()), say("more", Retrieve("q")), say("silent")])
    assert asked == ["flag", "more", "silent"]
    asked.clear()
    stop = Scripted(lambda s, t: Stop(2) if t.position == 3 else None, last=lambda s: asked.append(len(s.seen)))
    result = plain(6, monitors=[stop, say("greedy", Rewind(0))])
    assert asked == [2, "greedy"]
    assert result.finish_reason == "monitor"
    assert any("stopped already" in note for note in result.notes)


def test_monitors_record_what_the_answer_holds_when_a_stop_string_cuts_it():
    tokens = plain().tokens
    stop = letters(tokens)[6:9]
    at = letters(tokens).index(stop)
    for nodes in (1, 16):
        result = plain(
            detokenize=letters,
            stop_strings=[stop],
            monitors=[Scripted(lambda s, t: None)],
            drafters=[TreeDrafter(tokens, 1)],
            max_draft_nodes=nodes,
        )
        assert result.monitors["scripted"] == result.tokens == tokens[:at]


@pytest.mark.parametrize("to", [None, 2])
def test_new_evidence_can_replace_what_was_written_under_the_old(to):
    first = plain().tokens
    new = prompt(77, 30)
    kept = first[: 5 if to is None else to]
    events = []
    monitor = Scripted(lambda s, t: Retrieve("more", to=to) if t.position == 4 and not events else None)

    def retrieve(query):
        events.append(query)
        return {"with_context": View(new)}

    result = plain(monitors=[monitor], retrieve=retrieve, drafters=[TreeDrafter(first, 1), LOOKUP])
    stock = {
        "with_context": (model(), [*new, *kept]),
        "without_context": (model(), [*VIEWS["without_context"], *kept]),
    }
    expected, _ = naive.greedy(stock, naive.cad(0.5), (), 24 - len(kept))
    assert result.tokens == kept + expected


def test_prompt_lookup_drafts_from_the_new_evidence():
    session = PromptLookup(PromptLookupSettings()).start(request("a", {"with_context": [1, 2, 3, 4]}))
    session.observe(SimpleNamespace(committed=[7, 2]))
    session.retrieved({"with_context": [9, 7, 2, 8, 6]})
    assert session.propose(2).tokens[0] == 8
    session.rewind(1)
    assert list(session.propose(1).tokens) == [2]


@given(
    acts=st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["rewind", "stop"]), st.integers(0, 12)), max_size=4),
    nodes=st.sampled_from([2, 9]),
    hold=st.sampled_from([None, 3]),
    temperature=st.sampled_from([0.0, 1.0]),
    stop=st.sampled_from([[], ["ab"], ["\u00e9", "b."], [".a"]]),
    pieces=st.lists(st.sampled_from([b"a", b"b", b".", b"", b"\xc3", b"\xa9", b"\xe2\x82"]), min_size=5, max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_any_script_of_actions_is_the_same_with_drafts_and_can_be_followed(
    acts, nodes, hold, temperature, stop, pieces
):
    """Texts of half characters and empty tokens included."""

    def detokenize(tokens):
        return b"".join(pieces[token % 5] for token in tokens).decode(errors="replace")

    def monitor():
        todo = list(acts)

        def act(session, token):
            if todo and todo[0][0] == token.position:
                _, kind, to = todo.pop(0)
                return Stop(to) if kind == "stop" else Rewind(to, {"cad.alpha": 1.0 + to / 10})
            return None

        return Scripted(act, hold=hold)

    results = []
    for drafters in ([], [LOOKUP, TreeDrafter(plain(12).tokens, 3)]):
        item = request(
            "a",
            VIEWS,
            rules=CAD,
            monitors=[monitor()],
            drafters=drafters,
            max_draft_nodes=nodes,
            max_new_tokens=12,
            detokenize=detokenize,
            stop_strings=stop,
            sampling=Sampling(temperature=temperature),
        )
        shown, count = "", 0
        for event in Engine({"main": backend()}).run([item]):
            if isinstance(event, TokenEvent):
                assert event.record.position == count
                shown, count = shown + event.text, count + 1
            elif isinstance(event, RetractEvent):
                assert event.tokens < count
                shown, count = shown[: event.characters], event.tokens
            elif isinstance(event, DoneEvent):
                results.append(event.result)
        assert shown == results[-1].text
        assert not any(item in shown for item in stop)
        assert count == len(results[-1].tokens) == len(results[-1].records)
        assert results[-1].monitors["scripted"] == results[-1].tokens
    assert results[0].tokens == results[1].tokens
    assert results[0].finish_reason == results[1].finish_reason
    assert results[0].notes == results[1].notes


@pytest.mark.parametrize("nodes", [1, 12])
def test_an_answer_that_ends_inside_a_character_is_shown_to_its_end(nodes):
    tokens = plain().tokens
    end = next(token for token in tokens[2:] if token not in tokens[:2])
    item = request(
        "a",
        VIEWS,
        rules=CAD,
        detokenize=lambda ids: b"".join(b"\xc3" if token == tokens[1] else b"x" for token in ids).decode(
            errors="replace"
        ),
        end_tokens=frozenset([end]),
        drafters=[TreeDrafter(tokens, 1)],
        max_draft_nodes=nodes,
    )
    events = list(Engine({"main": backend()}).run([item]))
    assert "".join(event.text for event in events if isinstance(event, TokenEvent)) == events[-1].result.text


def test_half_a_character_is_not_announced_before_a_stop_string_takes_it():
    """The stop string is one character of two tokens; the first of them must not be shown."""
    tokens = plain().tokens
    pieces = {tokens[2]: b"\xc3", tokens[3]: b"\xa9"}

    def detokenize(ids):
        return b"".join(pieces.get(token, b"x") for token in ids).decode(errors="replace")

    item = request("a", VIEWS, rules=CAD, max_new_tokens=24, detokenize=detokenize, stop_strings=["\u00e9"])
    events = list(Engine({"main": backend()}).run([item]))
    result = events[-1].result
    assert [event.record.token for event in events if isinstance(event, TokenEvent)] == result.tokens == tokens[:2]


def test_drafts_cut_off_by_a_stop_are_not_counted_as_accepted():
    tokens = plain().tokens
    result = plain(
        monitors=[Scripted(lambda s, t: Stop(99) if t.position == 2 else None)],
        drafters=[TreeDrafter(tokens, 0)],
        max_draft_nodes=40,
    )
    assert result.stats.accepted <= len(result.tokens)
    assert result.stats.sources["trees"]["accepted"] == result.stats.accepted


def test_refused_rewinds_are_told():
    events = list(
        Engine({"main": backend()}).run(
            [
                request(
                    "a",
                    VIEWS,
                    max_rewinds=0,
                    max_new_tokens=4,
                    monitors=[Scripted(lambda s, t: Rewind(0) if t.position == 2 else None)],
                )
            ]
        )
    )
    assert [event.action for event in events if isinstance(event, ActionEvent)] == ["flag"]
