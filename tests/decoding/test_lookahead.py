"""Lookahead: the window against the paper's two-dimensional one, the pool, and nothing but speed."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.drafters.lookahead import Lookahead, LookaheadSettings
from ragdecode.decoding.drafting.jacobi import JacobiWindow
from ragdecode.decoding.drafting.pool import Pool
from ragdecode.decoding.drafting.rates import fed_nodes
from ragdecode.decoding.drafting.trie import Trie
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.speculation.fusion import fuse
from ragdecode.spec.settings import NoSettings
from tests.decoding import drafting
from tests.decoding.drafting import accept, paths
from tests.decoding.engines import VOCAB, backend, decode, request


def drafter(**settings):
    return Lookahead(LookaheadSettings(**settings))


def session(tokens, **settings):
    return drafter(**settings).start(Request("a", {"with_context": View(tokens)}))


def told(text, draft, cut=1000):
    """What a model that predicts `successor` says of a draft after a text; the accepted path followed."""
    tree = fuse(text[-1], [("p", draft)], nodes=cut, max_depth=99, vocab_size=VOCAB, end_tokens=frozenset())
    scores = torch.zeros(tree.size, VOCAB)
    predicted = [successor([*text, *tree.path(node)]) for node in range(tree.size)]
    scores[range(tree.size), predicted] = 9.0
    path, committed = [0], [predicted[0]]
    while (node := tree.children[path[-1]].get(committed[-1])) is not None:
        path.append(node)
        committed.append(predicted[node])
    return Verified(tree.tokens, tree.parents, tree.depths, tree.sources, path, committed, scores.log_softmax(-1))


def successor(text):
    """Depends on all that is seen, so that a wrong mask shows."""
    return hash(tuple(text)) % VOCAB


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (2, 1), (3, 4), (4, 2)])
def test_the_window_is_that_of_the_paper(rows, columns):
    """Its rows are kept as a matrix here, as in the paper, and every guess is computed from what it may see."""
    fills = [random.Random(1), random.Random(1)]
    window = JacobiWindow(rows, lambda: fills[0].randrange(VOCAB))
    matrix = [[fills[1].randrange(VOCAB) for _ in range(rows)] for _ in range(columns)]  # by column
    age = [0] * columns
    text = [1, 2, 3]
    for step in range(12):
        trie = Trie()
        window.place(trie, columns, 0.1, 0)
        draft = trie.draft()
        verified = told(text, draft)
        committed = 1 + step % 3 if columns > 2 else 1
        grams = window.advance(fed_nodes(draft, verified), verified.top(1)[0], committed)
        expected, below = [], []
        for c in range(columns):
            seen = [*text, *(matrix[k][0] for k in range(c + 1)), *matrix[c][1:]]
            below.append([*matrix[c], successor(seen)])
            age[c] += 1
            if age[c] >= rows:
                expected.append((below[c][0], below[c][1:]))
        assert grams == expected
        matrix = [column[1:] for column in below][committed - 1 :]
        age = age[committed - 1 :]
        while len(matrix) < columns:
            matrix.append([fills[1].randrange(VOCAB) for _ in range(rows)])
            age.append(0)
        text = [*text, *(successor([step, i]) for i in range(committed))]


def test_a_column_that_was_cut_off_starts_anew_with_all_to_its_right():
    count = iter(range(1, 90))
    window = JacobiWindow(2, lambda: next(count))
    trie = Trie()
    window.place(trie, 3, 0.5, 0)  # 1 2 / 3 4 / 5 6
    draft = trie.draft()
    assert paths(draft) == {(1, 2), (1, 3, 4), (1, 3, 5, 6)}
    nodes = [node if token != 4 else -1 for node, token in enumerate(draft.tokens)]
    window.advance(nodes, [[70 + node] for node in nodes], 1)
    trie = Trie()
    window.place(trie, 3, 0.5, 0)
    assert paths(trie.draft()) == {(2, 71), (2, 7, 8), (2, 7, 9, 10)}


def test_the_pool_keeps_the_latest():
    pool = Pool(2, 2)
    pool.add_text([1, 2, 3, 1, 4, 5, 1, 2, 3])
    assert pool.after(1) == [(2, 3), (4, 5)]
    pool.add(1, [6, 7])
    assert pool.after(1) == [(6, 7), (2, 3)]
    assert pool.after(9) == []


def test_the_best_nodes_of_a_trie_are_a_tree():
    trie = Trie()
    low = trie.add(-1, 5, 0.2, 1)
    trie.add(low, 6, 0.1, 2)
    high = trie.add(-1, 7, 0.9, 3)
    trie.add(high, 8, 0.5, 4)
    assert trie.add(-1, 5, 0.6, 9) == low
    draft = trie.best(3).draft()
    assert (draft.tokens, draft.parents, draft.scores, draft.classes) == (
        [5, 7, 8],
        [-1, -1, 1],
        [0.6, 0.9, 0.5],
        [9, 3, 4],
    )
    assert trie.best(-1).draft().tokens == []


def test_ngrams_of_prompt_and_answer_are_guessed_and_the_rest_of_the_room_looks_ahead():
    looking = session([1, 2, 3, 4, 9, 1], level=4, window=2)
    draft = looking.propose(9)
    assert draft.whole
    assert (2, 3, 4) in {path[:3] for path in paths(draft)}
    assert len(draft.tokens) == 9  # 3 guessed, 6 in the window
    accept(looking, [7, 8, 1, 2, 7])
    assert (8, 1, 2) in {path[:3] for path in paths(looking.propose(9))}
    looking.rewind(0)
    assert (2, 3, 4) in {path[:3] for path in paths(looking.propose(9))}
    looking.retrieved({"with_context": [5, 6, 8, 8, 5]})
    assert (6, 8, 8) in {path[:3] for path in paths(looking.propose(9))}
    assert session([1, 2, 3, 4, 9, 1], prompt=False).propose(2).tokens == []


@pytest.mark.parametrize("nodes", [0, 1, 2, 3, 5, 7, 15, 60])
def test_the_room_is_kept(nodes):
    rng = random.Random(nodes)
    looking = session([rng.randrange(5) for _ in range(50)])
    for _ in range(5):
        draft = looking.propose(nodes)
        assert len(draft.tokens) <= nodes
        assert nodes < 30 or len(draft.tokens) > 7
        for node, parent in enumerate(draft.parents):
            assert draft.scores[node] <= (1.0 if parent < 0 else draft.scores[parent])
        looking.observe(told([1], draft, cut=max(nodes - 2, 1)))


@pytest.mark.parametrize("settings", [{}, {"level": 2, "window": 8, "guesses": 1, "prompt": False}])
def test_drafts_change_speed_only(settings):
    drafting.assert_speed_only(drafter(**settings))


def test_drafts_are_accepted_where_text_repeats():
    assert drafting.tokens_per_pass(drafter(), nodes=16) > 2


class Orbit(Rule):
    """Each token decides the next, on a long way round: nothing repeats, but n-grams can be foreseen."""

    part_name = "orbit"
    views = ()

    def compose(self, nodes: Nodes) -> torch.Tensor:
        scores = torch.zeros_like(nodes.composed)
        for node in range(scores.shape[0]):
            last = [3, *nodes.path(node)][-1]
            scores[node, (last * 5 + 7) % VOCAB] = 9.0
        return scores


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.3, seed=1)])
def test_what_never_stood_anywhere_is_foreseen(sampling):
    item = request(
        "a",
        {"with_context": [3, 20, 40, 60, 80, 90]},
        rules=[Orbit(NoSettings())],
        sampling=sampling,
        drafters=[drafter(prompt=False, window=6)],
        max_draft_nodes=24,
        max_new_tokens=60,
    )
    result = decode(Engine({"main": backend()}), item)["a"]
    assert len(set(result.tokens)) == 60
    assert result.stats.mean_accepted > 1.3
