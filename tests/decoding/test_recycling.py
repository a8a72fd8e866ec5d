"""Token recycling remembers what was predicted after every fed token, and changes nothing but speed."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.drafters.recycling import Recycling, RecyclingSettings
from ragdecode.decoding.drafting.successors import Successors
from ragdecode.decoding.request import Request, Sampling, View
from tests.decoding import drafting


def drafter(**settings):
    return Recycling(RecyclingSettings(**settings))


def verified(rng, size=9, vocabulary=6, masked=0.2):
    """A fed tree with repeated tokens, a random accepted path, random predictions."""
    parents, depths, tokens = [-1], [0], [rng.randrange(vocabulary)]
    for _ in range(size - 1):
        parent = rng.randrange(len(parents))
        parents.append(parent)
        depths.append(depths[parent] + 1)
        tokens.append(rng.randrange(vocabulary))
    accepted = [0]
    while below := [node for node, parent in enumerate(parents) if parent == accepted[-1]]:
        if rng.random() < 0.3:
            break
        accepted.append(rng.choice(below))
    generator = torch.Generator().manual_seed(rng.randrange(10**6))
    scores = torch.rand(size, vocabulary, generator=generator, dtype=torch.float64) * 4
    scores[torch.rand(size, vocabulary, generator=generator) < masked] = float("-inf")
    scores[:, 0] = 1.0
    committed = [*(tokens[node] for node in accepted[1:]), 0]
    return Verified(tokens, parents, depths, [()] * size, accepted, committed, scores.log_softmax(-1))


@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_table_holds_what_was_last_predicted_after_each_token(k):
    rng = random.Random(k)
    table, expected = Successors(k), {}
    assert table.after(3) == ((), ())
    for _ in range(30):
        told = verified(rng)
        table.write(told)
        for token in set(told.tokens):
            nodes = [node for node, other in enumerate(told.tokens) if other == token]
            chosen = [node for node in nodes if node in told.accepted] or nodes
            chosen = max(chosen, key=lambda node: (told.depths[node], node))
            probs = told.log_probs[chosen].exp().tolist()
            best = sorted((token for token in range(6) if probs[token] > 0), key=lambda token: -probs[token])[:k]
            expected[token] = best, [sum(probs[token] >= bound for bound in (0.05, 0.2, 0.6)) for token in best]
        for token, (ids, bins) in expected.items():
            got = [pair for pair in zip(*table.after(token), strict=True) if pair[0] >= 0]
            assert got == list(zip(ids, bins, strict=True))


def test_a_tree_of_the_most_likely_rank_paths():
    session = drafter(prompt=False).start(Request("a", {"with_context": View([1])}))
    assert session.propose(5).tokens == []
    scores = torch.full((3, 8), -9.0)
    scores[0, 2], scores[0, 4] = 5.0, 3.0  # after 1: 2, then 4
    scores[1, 3] = 5.0  # after 2: 3
    scores[2, 1] = 5.0  # after 3: 1
    session.observe(Verified([1, 2, 3], [-1, 0, 1], [0, 1, 2], [()] * 3, [0], [1], scores.log_softmax(-1)))
    draft = session.propose(60)
    assert session.propose(1).tokens == [2]
    found = drafting.paths(draft)
    assert any(path[:4] == (2, 3, 1, 2) for path in found)  # the rank-0 spine goes round
    assert any(path[0] == 4 for path in found)
    assert any(path[:4] == (2, 3, 1, 4) for path in found)
    for node, parent in enumerate(draft.parents):
        assert draft.scores[node] <= (1.0 if parent < 0 else draft.scores[parent])
    assert session.propose(0).tokens == []


def test_the_tree_is_the_best_of_all_trees_of_its_size():
    """Its sum of path products against that of every rooted subtree, by exhaustive search over a small table."""
    rng = random.Random(5)
    session = drafter(prompt=False, candidates=3).start(Request("a", {"with_context": View([0])}))
    for _ in range(6):
        session.observe(verified(rng, vocabulary=4))

    def best(frontier, room):
        if not room or not frontier:
            return 0.0
        (score, token), *rest = frontier
        taken = [(score * rate, after) for after, rate, _, _ in session._children(token)]
        return max(best(rest, room), score + best([*rest, *taken], room - 1))

    start = [(rate, after) for after, rate, _, _ in session._children(session._answer[-1])]
    for room in (1, 2, 4, 6):
        assert sum(session.propose(room).scores) == pytest.approx(best(start, room))


def test_the_prompt_stands_in_until_something_was_predicted():
    prompt = [1, 2, 5, 1, 3, 1]
    session = drafter().start(Request("a", {"with_context": View(prompt)}))
    assert session.propose(1).tokens == [3]  # the latest
    assert {2, 3} <= set(session.propose(9).tokens)
    assert drafter(prompt=False).start(Request("a", {"with_context": View(prompt)})).propose(5).tokens == []
    session.retrieved({"with_context": [7, 1]})
    assert session.propose(5).tokens == []
    session.retrieved({"without_context": [1, 2]})
    assert session.propose(5).tokens == []


def test_requests_share_predictions_only_where_asked():
    rng = random.Random(1)
    told = verified(rng)
    for scope, shared in (("request", False), ("process", True)):
        part = drafter(scope=scope, prompt=False)
        part.start(Request("a", {"with_context": View([1])})).observe(told)
        other = part.start(Request("b", {"with_context": View([told.tokens[0]])}))
        assert bool(other.propose(3).tokens) is shared


@pytest.mark.parametrize("settings", [{}, {"candidates": 1, "scope": "process", "prompt": False}])
def test_drafts_change_speed_only(settings):
    drafting.assert_speed_only(drafter(**settings))


def test_predictions_are_accepted_where_text_repeats():
    # 5 is followed by 9 always, 9 by 13 or 20: the table knows one token of context
    assert drafting.tokens_per_pass(drafter(), nodes=8) > 1.6
    assert drafting.tokens_per_pass(drafter(), nodes=8, sampling=Sampling(temperature=1.0, seed=1)) > 1.2
