"""Trees that grow by a view: the best of all trees, under the request's own noise, or drawn."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from ragdecode.decoding.drafter import Draft, Verified
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.speculation.expansion import Expander, ExpansionSettings

SMALL = 3


class Table:
    """A made-up model: log-probabilities that depend on the whole path below the last accepted token."""

    def __init__(self, vocab: int, seed: int = 0, sharpness: float = 1.5) -> None:
        self.vocab, self.seed, self.sharpness = vocab, seed, sharpness
        self.looks: list[Draft] = []

    def logits(self, path) -> torch.Tensor:
        made = torch.Generator().manual_seed(hash((self.seed, *path)) % 2**31)
        return self.sharpness * torch.randn(self.vocab, generator=made, dtype=torch.float64)

    def log_probs(self, path) -> torch.Tensor:
        return self.logits(path).log_softmax(-1)

    def answer(self, draft: Draft) -> torch.Tensor:
        self.looks.append(draft)
        return torch.stack([self.log_probs(path) for path in [(), *paths(draft)]])


def paths(draft: Draft) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        assert parent < len(found)
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


def expander(sampling=None, *, settings=None, max_new_tokens=50, **request) -> Expander:
    asked = Request(
        "a", {"with_context": View([1])}, sampling=sampling or Sampling(), max_new_tokens=max_new_tokens, **request
    )
    return Expander(asked, "v", ExpansionSettings(**{"gain": 0.0, **(settings or {})}))


def run(growing, table: Table) -> Draft:
    try:
        look = next(growing)
        while True:
            assert look.view == "v"
            look = growing.send(table.answer(look.draft)[look.wanted])
    except StopIteration as done:
        return done.value


def product(table: Table, path) -> float:
    return math.exp(sum(float(table.log_probs(path[:i])[token]) for i, token in enumerate(path)))


def rooted_subtrees(depth: int, size: int) -> set[frozenset[tuple[int, ...]]]:
    """All rooted subtrees of the full tree over the small vocabulary, the root left out."""
    trees: set[frozenset[tuple[int, ...]]] = {frozenset()}
    for _ in range(size):
        larger = set()
        for tree in trees:
            for above in [(), *tree]:
                for token in range(SMALL):
                    child = (*above, token)
                    if len(child) <= depth and child not in tree:
                        larger.add(tree | {child})
        trees = larger
    return trees


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("depth", "nodes"), [(1, 2), (2, 4), (3, 5)])
def test_no_rooted_subtree_has_a_larger_expected_length(seed, depth, nodes):
    table = Table(SMALL, seed)
    draft = run(expander(settings={"depth": depth, "width": 16, "branch": SMALL}).grow(nodes, 0), table)
    best = max(sum(product(table, path) for path in tree) for tree in rooted_subtrees(depth, nodes))
    assert len(draft.tokens) == len(set(paths(draft))) == nodes
    assert sum(draft.scores) == pytest.approx(best, abs=1e-12)
    assert list(draft.scores) == pytest.approx([product(table, path) for path in paths(draft)], abs=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("verification", ["noise", "rejection"])
def test_looks_stay_within_what_was_announced(temperature, verification):
    for seed in range(10):
        table = Table(20, seed)
        settings = {"depth": 4, "width": 2, "branch": 3}
        grower = expander(Sampling(temperature=temperature), settings=settings, verification=verification)
        draft = run(grower.grow(9, 0), table)
        assert len(draft.tokens) <= 9
        assert 1 <= len(table.looks) <= 4
        assert max(len(look.tokens) for look in table.looks) <= ExpansionSettings(**settings).look_nodes
        assert max(Counter(draft.parents).values()) <= 3
        parents = [1.0 if parent < 0 else draft.scores[parent] for parent in draft.parents]
        assert all(score <= above for score, above in zip(draft.scores, parents, strict=True))


def test_growing_stops_where_it_does_not_pay():
    flat, sharp = Table(50, 1, sharpness=0.1), Table(50, 1, sharpness=30.0)
    wanted = {"depth": 6, "width": 1, "branch": 1}
    run(expander(settings={**wanted, "gain": 0.5}).grow(9, 0), flat)
    assert len(flat.looks) == 1  # the next level could not add half a token
    assert len(run(expander(settings={**wanted, "gain": 0.5}).grow(9, 0), sharp).tokens) == 6
    sure = Table(50, 1)
    run(expander(settings={**wanted, "confidence": 0.999}).grow(9, 0), sure)
    assert len(sure.looks) == 1


def test_nothing_grows_below_an_end_token_or_beyond_the_answer():
    table = Table(SMALL, 3)
    likely = int(table.log_probs(()).argmax())
    settings = {"depth": 5, "width": 8, "branch": SMALL}
    ended = run(expander(settings=settings, end_tokens=frozenset([likely])).grow(30, 0), table)
    assert not any(likely in path[:-1] for path in paths(ended))
    assert any(path[-1] == likely for path in paths(ended))
    short = run(expander(settings=settings, max_new_tokens=10).grow(30, 7), table)
    assert max(len(path) for path in paths(short)) == 2  # and the bonus token
    assert run(expander(settings=settings, max_new_tokens=10).grow(30, 9), table).tokens == ()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_under_noise_the_first_child_is_what_would_be_picked(temperature):
    table = Table(40, 5)
    sampling = Sampling(temperature=temperature, seed=9, top_p=0.95)
    grower = expander(sampling, settings={"depth": 4, "width": 1, "branch": 1})
    from ragdecode.decoding.sampling import warp

    for epoch in range(3):
        (chain,) = [run(grower.grow(4, 6), table).tokens]
        picked: list[int] = []
        for depth in range(4):
            noise = gumbel(9, "a", epoch, [6 + depth], 40, torch.device("cpu"))[0]
            picked.append(int((warp(table.log_probs(picked)[None], sampling)[0] + noise).argmax()))
        assert list(chain) == picked
        grower.rewind(6)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_scores_under_noise_are_the_odds_of_a_target_that_differs_by_gumbel_noise(temperature):
    table = Table(12, 2)
    grower = expander(Sampling(temperature=temperature, seed=4), settings={"depth": 1, "branch": 12})
    draft = run(grower.grow(12, 3), table)
    noise = gumbel(4, "a", 0, [3], 12, torch.device("cpu"))
    runs = 40_000
    made = torch.Generator().manual_seed(0)
    differ = -torch.log(-torch.log(torch.rand(runs, 12, generator=made, dtype=torch.float64)))
    target = ((table.logits(()) + differ) / temperature).log_softmax(-1)
    counts = torch.bincount((target + noise).argmax(-1), minlength=12) / runs
    for token, score in zip(draft.tokens, draft.scores, strict=True):
        assert score == pytest.approx(float(counts[token]), abs=0.012)


def test_a_repetition_penalty_is_reckoned_with():
    table = Table(6, 8)
    grower = expander(Sampling(repetition_penalty=3.0), settings={"depth": 4, "width": 1, "branch": 1})
    answer = [int(table.log_probs(()).argmax())]
    grower.observe(Verified([], [], [], [], [], answer, torch.empty(0)))
    path: list[int] = []
    for _ in range(4):
        scores = table.log_probs(path).clone()
        for token in {*answer, *path}:
            scores[token] *= 3.0
        path.append(int(scores.argmax()))
    assert list(run(grower.grow(4, 1), table).tokens) == path


def test_draws_are_made_without_replacement_and_in_order():
    table = Table(5, 7)
    sampling = Sampling(temperature=0.8, seed=1)
    grower = expander(
        sampling, settings={"depth": 1, "width": 1, "branch": 2}, max_new_tokens=9, verification="rejection"
    )
    q = (table.log_probs(()) / 0.8).softmax(-1)
    pairs: Counter[tuple[int, ...]] = Counter()
    runs = 2500
    for _ in range(runs):
        draft = run(grower.grow(2, 0), table)
        assert torch.allclose(draft.drawn[-1].exp(), q)
        pairs[tuple(draft.tokens)] += 1
    for first in range(5):
        for second in range(5):
            if first != second:
                odds = float(q[first] * q[second] / (1 - q[first]))
                assert pairs[first, second] / runs == pytest.approx(odds, abs=4.5 * math.sqrt(odds / runs))
    assert sum(pairs.values()) == sum(count for (a, b), count in pairs.items() if a != b)


def test_how_much_is_drawn_does_not_depend_on_what_is_drawn():
    sampling = Sampling(temperature=1.0)
    for nodes, levels in [(7, [2, 2, 2, 1]), (4, [1, 1, 1, 1]), (3, [1, 1, 1]), (9, [3, 2, 2, 2])]:
        for seed in range(6):
            table = Table(30, seed, sharpness=4.0)
            grower = expander(sampling, settings={"depth": 4, "width": 2, "branch": 4}, verification="rejection")
            draft = run(grower.grow(nodes, 0), table)
            assert [Counter(map(len, paths(draft)))[depth + 1] for depth in range(len(levels))] == levels
            assert set(draft.drawn) == set(draft.parents)
            for parent, log_q in draft.drawn.items():
                above = () if parent < 0 else paths(draft)[parent]
                assert torch.allclose(log_q, table.log_probs(above))


def test_a_base_is_judged_and_its_leaves_are_extended():
    table = Table(10, 11, sharpness=4.0)
    greedy: list[int] = []
    for _ in range(6):
        greedy.append(int(table.log_probs(greedy).argmax()))
    wrong = int(table.log_probs(()).argmin())
    base = Draft([wrong, *greedy[:3]], [-1, -1, 1, 2], [0.01, 0.1, 0.1, 0.1], sources=["x", "y", "y", "y"])
    grower = expander(settings={"depth": 3, "width": 1, "branch": 1})
    draft = run(grower.grow(7, 0, base=base), table)
    assert len(table.looks) == 3
    assert tuple(greedy[:6]) in paths(draft)  # three looks reach six levels deep
    assert dict(zip(paths(draft), draft.sources, strict=True))[tuple(greedy[:2])] == "y"
    told = grower.judge(base)
    assert told[0] == (pytest.approx(float(table.log_probs(())[wrong].exp())), 9)
    assert told[3] == (pytest.approx(float(table.log_probs(greedy[:2])[greedy[2]].exp())), 0)
    assert grower.judge(Draft([greedy[0], wrong, 3], [-1, 0, 1], [1, 1, 1]))[2] is None
    assert grower.judge(Draft([99], [-1], [1.0])) == [None]
