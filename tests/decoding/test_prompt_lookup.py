"""Prompt lookup proposes what followed the longest match, and changes nothing but speed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.request import Request, View
from tests.decoding import drafting
from tests.decoding.drafting import accept, paths


def drafter(**settings):
    return PromptLookup(PromptLookupSettings(**settings))


def session(tokens, **settings):
    return drafter(**settings).start(Request("a", {"with_context": View(tokens)}))


def naive_first(text, longest, shortest=1):
    """The most frequent, then latest token after the longest earlier match, by looking everywhere."""
    for size in range(min(longest, len(text) - 1), shortest - 1, -1):
        ends = [end for end in range(size, len(text)) if text[end - size : end] == text[-size:]]
        if ends:
            after = [text[end] for end in ends]
            return max(set(after), key=lambda token: (after.count(token), max(e for e in ends if text[e] == token)))
    return None


def test_the_longest_match_wins_and_counts_before_recency():
    text = [1, 2, 3, 9, 9, 7, 2, 3, 4, 2, 3, 4, 6, 1, 2, 3, 8, 0, 1, 2, 3]
    assert session(text, branches=1).propose(1).tokens == [8]  # after 1 2 3: 9 and 8 once each, 8 later
    assert session([1, 2, 3, 9, *text], branches=1).propose(1).tokens == [9]  # 9 twice
    assert session(text, longest=2, branches=1).propose(1).tokens == [4]  # after 2 3: 4 twice
    assert session([1, 2, 1], shortest=2).propose(4).tokens == []


@pytest.mark.parametrize("longest", [1, 2, 5, 32])
def test_the_first_token_is_that_of_a_search_from_end_to_end(longest):
    rng = random.Random(longest)
    for _ in range(40):
        text = [rng.randrange(4)]
        lookup = session(text, longest=longest, branches=1)
        for _ in range(40):
            token = rng.randrange(4)
            accept(lookup, [token])
            text.append(token)
            expected = naive_first(text, longest)
            assert lookup.propose(1).tokens == ([] if expected is None else [expected])


def test_branches_of_the_match_and_of_its_suffixes_share_a_tree():
    text = [7, 1, 2, 3, 5, 7, 1, 4, 9, 1, 6, 6, 7, 1]
    found = paths(session(text).propose(40))
    starts = {path[0] for path in found}
    assert starts == {2, 4, 6}  # 7 1 was followed by 2 and 4, 1 alone by 6 too
    assert any(path[:3] == (2, 3, 5) for path in found)
    assert any(path[:2] == (4, 9) for path in found)


def test_the_draft_goes_on_beyond_the_end_of_the_text():
    assert session([1, 2, 3] * 2, branches=1).propose(8).tokens == [1, 2, 3, 1, 2, 3, 1, 2]


def test_nothing_known_proposes_nothing():
    assert session([1, 2, 3]).propose(7).tokens == []
    assert session([1]).propose(7).tokens == []
    assert session([1, 1, 1]).propose(0).tokens == []


def test_what_is_generated_is_found_too():
    lookup = session([50, 51])
    accept(lookup, [1, 2, 3, 4, 1, 2])
    assert any(path[:4] == (3, 4, 1, 2) for path in paths(lookup.propose(7)))


@pytest.mark.parametrize("seed", range(5))
def test_a_rewound_session_is_the_one_that_never_went_there(seed):
    rng = random.Random(seed)
    tokens = [rng.randrange(6) for _ in range(60)]
    straight, rewound = session(tokens[:20]), session(tokens[:20])
    accept(straight, tokens[20:35])
    accept(rewound, tokens[20:35])
    accept(rewound, [rng.randrange(6) for _ in range(20)])
    rewound.rewind(15)
    accept(straight, tokens[35:])
    accept(rewound, tokens[35:])
    assert straight.propose(8) == rewound.propose(8)
    fresh = session([9, 8, *tokens[20:30]])
    accept(fresh, tokens[20:35] + tokens[35:])
    rewound.retrieved({"without_context": [3]})
    rewound.retrieved({"with_context": [9, 8, *tokens[20:30]]})
    assert fresh.propose(8) == rewound.propose(8)


def test_scores_are_those_of_paths_and_fall_with_what_is_rejected():
    lookup = session([1, 2, 1, 3, 1, 4, 1])
    first = lookup.propose(8)
    for token, parent in enumerate(first.parents):
        assert 0 < first.scores[token] <= (1.0 if parent < 0 else first.scores[parent])
    assert len(first.classes) == len(first.tokens) <= 8
    parents = [-1, *(parent + 1 for parent in first.parents)]
    fed = SimpleNamespace(tokens=[1, *first.tokens], parents=parents, accepted=[0], committed=[])
    for _ in range(5):
        lookup.observe(fed)
        later = lookup.propose(8)
    assert later.scores[0] < first.scores[0] * 0.8


@pytest.mark.parametrize("settings", [{}, {"longest": 1, "branches": 1}, {"shortest": 3, "longest": 256}])
def test_drafts_change_speed_only(settings):
    drafting.assert_speed_only(drafter(**settings))


def test_drafts_are_accepted_where_text_repeats():
    assert drafting.tokens_per_pass(drafter(), nodes=8) > 5
    # a draft that is always accepted runs to the tree's end
    assert drafting.tokens_per_pass(drafter(), nodes=2) == pytest.approx(2, abs=0.15)


def test_settings_out_of_order_are_refused():
    with pytest.raises(ValueError, match="shortest"):
        PromptLookupSettings(longest=2, shortest=3)
