"""Prompt lookup proposes what followed the same tokens before."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.request import Request, View
from ragdecode.decoding.speculation.fusion import fuse


def session(tokens, **settings):
    request = Request("a", {"with_context": View(tokens)})
    return PromptLookup(PromptLookupSettings(**settings)).start(request)


def accept(drafting, tokens):
    drafting.observe(Verified([], [], [], [], [], tokens, torch.empty(0)))


def paths(draft):
    tree = fuse(0, [("p", draft)], nodes=1000, max_depth=1000, vocab_size=10**6, end_tokens=frozenset())
    leaves = set(range(tree.size)) - set(tree.parents)
    return {tuple(tree.path(node)) for node in leaves}


def test_the_longest_match_wins_and_the_latest_place_comes_first():
    drafting = session([1, 2, 3, 9, 9, 7, 2, 3, 8, 8, 1, 2, 3], branches=1, longest=3)
    assert paths(drafting.propose(3)) == {(9, 9, 7)}  # after 1 2 3
    shorter = session([1, 2, 3, 9, 9, 7, 2, 3, 8, 8, 1, 2, 3], branches=1, longest=2)
    assert paths(shorter.propose(3)) == {(8, 8, 1)}  # the latest 2 3


def test_branches_from_several_places_share_a_trie():
    drafting = session([5, 1, 2, 3, 5, 1, 2, 4, 5], branches=2, longest=1)
    assert paths(drafting.propose(3)) == {(1, 2, 3), (1, 2, 4)}


def test_nothing_known_proposes_nothing():
    assert session([1, 2, 3]).propose(7).tokens == []


def test_what_is_generated_is_found_too():
    drafting = session([50, 51])
    accept(drafting, [1, 2, 3, 4, 1, 2])
    assert (3, 4, 1, 2) in paths(drafting.propose(7))


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


@pytest.mark.parametrize("seed", range(5))
def test_every_proposal_followed_its_match_somewhere(seed):
    rng = random.Random(seed)
    text = [rng.randrange(5) for _ in range(80)]
    draft = session(text, longest=3, branches=3).propose(6)
    joined = ",".join(map(str, text)) + ","
    for path in paths(draft):
        assert any(f"{text[-1]}," + "".join(f"{token}," for token in path[: len(path)]) in joined for _ in (0,))
    for token, parent in enumerate(draft.parents):
        above = 1.0 if parent < 0 else draft.scores[parent]
        assert draft.scores[token] <= above
