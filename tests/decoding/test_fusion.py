"""The trie of all drafts: the best tree of a size, calibrated scores, drafts wanted as a whole, and its price."""

from __future__ import annotations

import random
import sys
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.speculation.acceptance import ALONE, Acceptance, AnswerAcceptance, Guess
from ragdecode.decoding.speculation.fusion import Trie, fuse

LIMITS = {"max_depth": 20, "vocab_size": 100, "end_tokens": frozenset({9})}


@st.composite
def drafts(draw):
    size = draw(st.integers(0, 6))
    tokens = [draw(st.integers(0, 4)) for _ in range(size)]
    parents = [draw(st.integers(-1, index - 1)) for index in range(size)]
    scores = []
    for parent in parents:
        scores.append(draw(st.floats(0, 1)) * (1.0 if parent < 0 else scores[parent]))
    return Draft(tokens, parents, scores, classes=[draw(st.integers(0, 2)) for _ in tokens])


def expectation(trie, nodes):
    return sum(trie.scores[node] for node in nodes)


def rooted_subtrees(trie, count):
    for nodes in combinations(range(1, len(trie)), count):
        if all(trie.parents[node] in (0, *nodes) for node in nodes):
            yield nodes


def taught(seed):
    """A table that has seen something."""
    table, rng = AnswerAcceptance(Acceptance()), random.Random(seed)
    for _ in range(40):
        table.count([Guess(rng.choice("ab"), rng.randrange(3), 0.5)], rng.randrange(3), rng.random() < 0.6)
    return table


@given(st.lists(drafts(), max_size=2), st.integers(0, 6), st.integers(0, 3))
def test_the_first_n_nodes_are_the_subtree_with_the_longest_expected_path(items, count, seed):
    trie = Trie(0, **LIMITS)
    for name, draft in zip("ab", items, strict=False):
        trie.add(name, draft)
    if seed:
        trie.judge(taught(seed))
    count = min(count, len(trie) - 1)
    chosen = trie.order()[:count]
    assert all(trie.parents[node] in (0, *chosen) for node in chosen)
    best = max(expectation(trie, nodes) for nodes in rooted_subtrees(trie, count))
    assert expectation(trie, chosen) == pytest.approx(best)
    tree = trie.cut(chosen)
    assert tree.size == 1 + count
    assert all(tree.parents[node] < node for node in range(tree.size))


@given(st.lists(drafts(), max_size=3), st.integers(0, 3))
def test_scores_are_probabilities_that_fall_down_a_path_and_share_what_siblings_have(items, seed):
    trie = Trie(0, **LIMITS)
    for name, draft in zip("abc", items, strict=False):
        trie.add(name, draft)
    trie.judge(taught(seed))
    for node in range(len(trie)):
        below = [child for child in range(1, len(trie)) if trie.parents[child] == node]
        assert sum(trie.scores[child] for child in below) <= trie.scores[node] * (1 + 1e-9)
        assert all(0 < trie.scores[child] <= trie.scores[node] for child in below)


def test_what_is_accepted_lifts_its_source_over_one_that_claims_more():
    acceptance = AnswerAcceptance(Acceptance())
    boaster, modest = Draft.chain([1, 2], 0.99), Draft.chain([3, 4], 0.3)
    for _ in range(30):
        trie = Trie(0, **LIMITS)
        trie.add("boaster", boaster)
        trie.add("modest", modest)
        tree = trie.cut(trie.order())
        path = [tree.children[0][3], tree.children[tree.children[0][3]][4]]
        hits = trie.observe(tree, [0, *path], acceptance)
        assert [trie.tokens[node] for node in hits] == [3, 4]
    room = {**LIMITS, "nodes": 3}
    assert fuse(0, [("boaster", boaster), ("modest", modest)], **room).path(2) == [1, 2]
    calibrated = fuse(0, [("boaster", boaster), ("modest", modest)], **room, acceptance=acceptance)
    assert calibrated.path(2) == [3, 4]


def test_only_nodes_under_the_accepted_path_are_trials():
    acceptance = AnswerAcceptance(Acceptance())
    trie = Trie(0, **LIMITS)
    trie.add("a", Draft([1, 2, 3, 4, 5], [-1, 0, 0, 1, -1], [0.9, 0.5, 0.4, 0.3, 0.1], classes=[0, 1, 2, 3, 4]))
    tree = trie.cut(trie.order())
    trie.observe(tree, [0, tree.children[0][1]], acceptance)
    tried = [acceptance.common.trials(Guess("a", kind, 0.5)) for kind in range(5)]
    assert tried == [1, 1, 1, 0, 1]
    assert acceptance.common.rate(Guess("a", 0, 0.5), ALONE) > 0.5 > acceptance.common.rate(Guess("a", 1, 0.5), ALONE)


def test_nodes_that_a_constraint_dropped_are_no_trials():
    acceptance = AnswerAcceptance(Acceptance())
    trie = Trie(0, **LIMITS)
    trie.add("a", Draft([1, 2], [-1, -1], [0.9, 0.5], classes=[0, 1]))
    assert trie.observe(trie.cut([1]), [0, 1], acceptance) == [1]
    assert [acceptance.common.trials(Guess("a", kind, 0.5)) for kind in range(2)] == [1, 0]


def test_a_draft_that_is_wanted_as_a_whole_comes_first_and_is_cut_by_the_room_alone():
    whole = Draft([1, 2, 3], [-1, 0, 1], [0.01, 0.001, 0.0001], whole=True)
    good = Draft.chain([5, 6], 0.9)
    for nodes, tokens in [(4, {1, 2, 3}), (5, {1, 2, 3, 5}), (3, {1, 2})]:
        tree = fuse(0, [("good", good), ("whole", whole)], **LIMITS, nodes=nodes)
        assert set(tree.tokens[1:]) == tokens


def test_sources_that_drafters_name_themselves_are_counted_apart():
    trie = Trie(0, **LIMITS)
    trie.add("mix", Draft([1, 2], [-1, -1], [0.5, 0.5], sources=["left", "right"]))
    acceptance = AnswerAcceptance(Acceptance())
    trie.observe(trie.cut([1, 2]), [0, 1], acceptance)
    kinds = [trie._guesses[node][0] for node in (1, 2)]
    assert [kind.source for kind in kinds] == ["left", "right"]
    assert acceptance.common.rate(kinds[0]) > acceptance.common.rate(kinds[1])


def calls(drafters, length):
    """Python and C calls of a step's merge, judgement and choice."""
    chains = [Draft.chain([i * 20 + depth for depth in range(length)], 0.8) for i in range(drafters)]
    acceptance, count = AnswerAcceptance(Acceptance()), 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        trie = Trie(0, **{**LIMITS, "vocab_size": 10**6})
        for i, chain in enumerate(chains):
            trie.add(f"d{i}", chain)
        trie.judge(acceptance)
        trie.cut(trie.order()[:15])
    finally:
        sys.setprofile(None)
    return count


def test_the_price_of_a_merge_is_in_proportion_to_its_nodes():
    small, large = calls(3, 8), calls(3, 16)
    assert large < 48 * 40  # calls a node: far below a millisecond for 48 nodes
    assert large < 2.3 * small
