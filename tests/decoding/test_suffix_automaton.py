"""The suffix automaton against a text that is searched from end to end."""

from __future__ import annotations

import random

import pytest

from ragdecode.decoding.drafting.suffix_automaton import SuffixAutomaton


def places(text, context):
    """Every end of a context that is followed by something, in order."""
    size = len(context)
    return [end for end in range(size, len(text)) if text[end - size : end] == context]


def longest_match(text, longest):
    """Length of the longest suffix, of at most ``longest`` tokens, that occurs earlier."""
    return next((size for size in range(min(longest, len(text)), 0, -1) if places(text, text[-size:])), 0)


def followers(text, context):
    """Token, count and place of the last time, of everything that followed a context."""
    found = {}
    for end in places(text, context):
        found[text[end]] = (found.get(text[end], (0, 0))[0] + 1, end + 1)
    return sorted(((token, *seen) for token, seen in found.items()), key=lambda item: item[1:], reverse=True)


def check(automaton, state, text, context):
    expected = followers(text, context)
    assert automaton.following(state, 99) == (sum(often for _, often, _ in expected), expected)
    assert automaton.following(state, 2)[1] == expected[:2]
    assert automaton.distinct(state) == len(expected)


def texts():
    rng = random.Random(0)
    yield from ([rng.randrange(size) for _ in range(60)] for size in (1, 2, 3, 8, 40) for _ in range(6))
    yield [0, 1, 2] * 25
    yield [0] * 20 + [1] + [0] * 30
    phrases = [[rng.randrange(30) for _ in range(9)] for _ in range(4)]
    yield [token for _ in range(12) for token in rng.choice(phrases)]


TEXTS = list(texts())


@pytest.mark.parametrize("longest", [1, 2, 4, 64])
def test_the_longest_match_and_all_that_followed_it_and_its_suffixes(longest):
    for text in TEXTS:
        automaton = SuffixAutomaton(longest)
        for at, token in enumerate(text):
            automaton.extend([token], undoable=at > 30)
            known = text[: at + 1]
            state, length = automaton.match()
            assert length == longest_match(known, longest)
            while state:
                check(automaton, state, known, known[-length:])
                state, shorter = automaton.shorter(state)
                # nothing in between: the lengths that are passed over occur at the same places
                for size in range(shorter + 1, length):
                    assert places(known, known[-size:]) == places(known, known[-length:])
                length = shorter


@pytest.mark.parametrize("longest", [1, 3, 64])
def test_steps_lead_to_the_longest_contexts(longest):
    rng = random.Random(1)
    for text in TEXTS:
        automaton = SuffixAutomaton(longest)
        automaton.extend(text)
        state, length = automaton.match()
        context = text[-length:] if length else []
        for _ in range(40):
            if not automaton.distinct(state):
                break
            token = rng.choice(automaton.following(state, 9)[1])[0]
            state, length = automaton.step(state, length, token)
            context = [*context, token][-longest:]
            assert length == len(context)
            check(automaton, state, text, context)


@pytest.mark.parametrize("longest", [1, 3, 64])
def test_a_rewound_automaton_is_the_one_that_never_went_there(longest):
    rng = random.Random(2)
    for text in TEXTS:
        straight, wandering = SuffixAutomaton(longest), SuffixAutomaton(longest)
        for automaton in (straight, wandering):
            automaton.extend(text[:10], undoable=False)
        for start in range(10, len(text), 7):
            straight.extend(text[start : start + 7])
            wandering.extend(text[start : start + 7])
            wandering.extend([rng.choice(text) for _ in range(rng.randrange(30))])
            wandering.rewind(min(start + 7, len(text)))
            assert vars(wandering) == vars(straight)
            tables = [list(table) for table in wandering._next]
            assert tables == [list(table) for table in straight._next]  # in their order too
    with pytest.raises(ValueError, match="the first 10 are fixed"):
        wandering.rewind(9)


def test_an_empty_text_matches_nothing():
    automaton = SuffixAutomaton(4)
    assert automaton.match() == automaton.context() == (0, 0)
    automaton.extend([5])
    assert automaton.match() == (0, 0)


def test_states_and_work_are_linear():
    """At most two states and three transitions a token (Blumer et al.), whatever the text."""
    for text in (*TEXTS, [0, 1] * 1000, [0] * 2000):
        automaton = SuffixAutomaton(16)
        automaton.extend(text)
        assert len(automaton._link) <= 2 * len(text)
        assert sum(map(len, automaton._next)) <= 3 * len(text)
        assert max(len(entry[-1]) for entry in automaton._undo) <= 17  # counted states a token
