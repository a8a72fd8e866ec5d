"""Fusing drafts, walking trees, and the attention they imply."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.tree_mask import additive_mask
from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.speculation.fusion import fuse
from ragdecode.decoding.speculation.verify import walk

LIMITS = {"nodes": 50, "max_depth": 20, "vocab_size": 100, "end_tokens": frozenset({9})}


@st.composite
def drafts(draw):
    size = draw(st.integers(0, 12))
    tokens = [draw(st.integers(-1, 12)) for _ in range(size)]
    parents = [draw(st.integers(-1, index - 1)) for index in range(size)]
    scores = [draw(st.floats(0, 1)) for _ in range(size)]
    return Draft(tokens, parents, scores)


def paths(tree):
    return {tuple(tree.path(node)) for node in range(tree.size)}


def draft_paths(draft, end):
    found = set()
    for node in range(len(draft.tokens)):
        path, at = [], node
        while at >= 0:
            path.append(draft.tokens[at])
            at = draft.parents[at]
        path = tuple(path[::-1])
        if all(0 <= token < 10 for token in path) and end not in path[:-1]:
            found.add(path)
    return found


@given(st.lists(drafts(), max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_fused_tree_holds_exactly_the_paths_of_its_drafts(items):
    limits = {**LIMITS, "vocab_size": 10}
    tree = fuse(5, [(f"d{i}", item) for i, item in enumerate(items)], **limits)
    expected = {()}.union(*(draft_paths(item, 9) for item in items))
    assert paths(tree) == expected
    assert tree.size == len(expected)  # siblings are distinct
    for node in range(1, tree.size):
        assert tree.parents[node] < node
        assert tree.depths[node] == tree.depths[tree.parents[node]] + 1


@given(st.lists(drafts(), max_size=3), st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_pruning_keeps_a_tree_of_the_best_nodes(items, nodes, max_depth):
    named = [(f"d{i}", item) for i, item in enumerate(items)]
    whole = fuse(5, named, **{**LIMITS, "max_depth": max_depth})
    tree = fuse(5, named, **{**LIMITS, "max_depth": max_depth, "nodes": nodes})
    assert tree.size == min(nodes, whole.size)
    assert paths(tree) <= paths(whole)
    assert max(tree.depths) <= max_depth


def test_a_node_that_two_drafters_propose_is_one_node_with_both_sources():
    tree = fuse(1, [("a", Draft.chain([2, 3], 0.5)), ("b", Draft.chain([2, 4], 0.9))], **LIMITS)
    assert tree.size == 4
    shared = next(node for node in range(tree.size) if tree.path(node) == [2])
    assert tree.sources[shared] == ("a", "b")


def test_a_child_never_outlives_its_parent_when_scores_are_wrong():
    draft = Draft([1, 2, 3], [-1, 0, -1], [0.1, 0.9, 0.5])
    tree = fuse(0, [("a", draft)], **{**LIMITS, "nodes": 3})
    assert paths(tree) == {(), (3,), (1,)}


def test_the_walk_follows_the_picks_and_always_adds_a_bonus():
    tree = fuse(0, [("a", Draft([1, 2, 3, 4], [-1, 0, 0, 2], [1, 1, 1, 1]))], **LIMITS)
    node = {tuple(tree.path(n)): n for n in range(tree.size)}
    picks = [0] * tree.size
    picks[node[()]], picks[node[(1,)]], picks[node[(1, 3)]], picks[node[(1, 3, 4)]] = 1, 3, 4, 8
    path, committed = walk(tree, picks)
    assert [tree.path(n) for n in path] == [[], [1], [1, 3], [1, 3, 4]]
    assert committed == [1, 3, 4, 8]
    picks[node[()]] = 7
    assert walk(tree, picks) == ([0], [7])


@pytest.mark.parametrize(
    ("parents", "allowed"),
    [
        (None, [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
        ([-1, 0, 0, 1, 2], [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 1, 0, 1]]),
        ([-1, 0, 0, 2], [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]),
    ],
)
def test_the_mask_lets_a_token_see_the_cache_its_ancestors_and_itself(parents, allowed):
    size = len(allowed)
    segment = Segment(0, 2, [0] * size, [0] * size, parents, ())
    mask = additive_mask(segment, torch.device("cpu"), torch.float32)
    assert mask.shape == (size, 2 + size)
    assert (mask[:, :2] == 0).all()
    assert ((mask[:, 2:] == 0).int().tolist()) == allowed


def test_golden_verification_on_duplicates_under_different_parents():
    draft = Draft([5, 5, 6, 5], [-1, 0, 0, 1], [1, 1, 1, 1])
    tree = fuse(5, [("a", draft)], **LIMITS)
    picks = [5] * tree.size
    path, committed = walk(tree, picks)
    assert len(path) == 4
    assert committed == [5, 5, 5, 5]
