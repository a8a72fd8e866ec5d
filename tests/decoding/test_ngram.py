"""N-gram drafts: counts and means against naive ones, the noise against verification's own, and nothing but speed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.drafters.ngram import Ngram, NgramSettings
from ragdecode.decoding.drafting.averages import MeanPredictions
from ragdecode.decoding.drafting.coupled import draw, gumbel_at
from ragdecode.decoding.drafting.ngrams import NgramCounts
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.sampling import warp
from ragdecode.spec.settings import NoSettings
from tests.decoding import drafting
from tests.decoding.drafting import accept, paths
from tests.decoding.engines import VOCAB


def drafter(**settings):
    return Ngram(NgramSettings(**settings))


def session(tokens, **settings):
    return drafter(**settings).start(Request("a", {"with_context": View(tokens)}))


@pytest.mark.parametrize("longest", [1, 3])
def test_counts_are_those_of_a_search_from_end_to_end(longest):
    rng = random.Random(longest)
    text = [rng.randrange(4) for _ in range(80)]
    counts = NgramCounts(longest)
    counts.extend(text[:30], undoable=False)
    counts.extend(text[30:])
    for size in range(1, longest + 1):
        for start in range(len(text) - size + 1):
            context = tuple(text[start : start + size])
            ends = [end for end in range(size, len(text)) if tuple(text[end - size : end]) == context]
            often, last = Counter(text[end] for end in ends), {text[end]: end for end in ends}
            expected = sorted(often.items(), key=lambda item: (-item[1], -last[item[0]]))
            assert counts.after(context, 99) == (len(ends), len(often), expected)
            assert counts.after(context, 2)[2] == expected[:2]
    assert counts.after((9,), 5) == (0, 0, [])


def test_rewound_counts_are_those_that_never_went_there():
    rng = random.Random(0)
    text = [rng.randrange(5) for _ in range(60)]
    straight, wandering = NgramCounts(4), NgramCounts(4)
    for counts in (straight, wandering):
        counts.extend(text[:20], undoable=False)
    for start in range(20, 60, 8):
        straight.extend(text[start : start + 8])
        wandering.extend(text[start : start + 8])
        wandering.extend([rng.randrange(5) for _ in range(9)])
        wandering.rewind(start + 8)
        assert vars(wandering) == vars(straight)


def test_means_are_the_means_of_what_was_predicted_after_each_context():
    generator = torch.Generator().manual_seed(0)
    rng = random.Random(0)
    means, seen = MeanPredictions(longest=3, k=6), {}
    tail = [1, 2, 3]
    for _ in range(25):
        tokens = [tail[-1], *(rng.randrange(4) for _ in range(5))]
        parents = [-1, 0, 0, 1, 3, 2]
        log_probs = torch.rand(6, 6, generator=generator, dtype=torch.float64).mul(3).log_softmax(-1)
        means.learn(tail, Verified(tokens, parents, [0] * 6, [()] * 6, [0], [], log_probs))
        for node in range(6):
            path, at = [], node
            while at:
                path.insert(0, tokens[at])
                at = parents[at]
            for size in (1, 2, 3):
                seen.setdefault(tuple([*tail, *path][-size:]), []).append(log_probs[node].exp())
        tail = [*tail, rng.randrange(4)]
    for context, observed in seen.items():
        length, probs = means.after((0, 0, *context)[-3:] if len(context) == 3 else context)
        assert length == len(context)
        assert [probs[token] for token in range(6)] == pytest.approx(torch.stack(observed).mean(0).tolist())
    assert means.after((7, 7, 1))[0] == 1  # backs off
    assert means.after((7,)) == (0, {})


def test_noise_of_few_tokens_is_that_of_verification():
    full = gumbel(7, "r\u00e9q", 2, [5], 50_000, torch.device("cpu"))[0]
    tokens = [0, 1, 17, 49_999]
    assert gumbel_at(7, "r\u00e9q", 2, 5, tokens) == pytest.approx(full[tokens].tolist(), abs=1e-12)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.7, seed=3),
        Sampling(temperature=1.3, top_k=3, seed=4),
        Sampling(temperature=1.0, top_p=0.6, min_p=0.1, seed=5),
    ],
    ids=str,
)
def test_the_first_drawn_token_is_what_verification_picks_from_the_same_distribution(sampling):
    generator = torch.Generator().manual_seed(1)
    for position in range(60):
        scores = torch.rand(1, 12, generator=generator, dtype=torch.float64).mul(4).log_softmax(-1)
        picked = warp(scores, sampling)
        if sampling.temperature:
            picked = picked + gumbel(sampling.seed, "a", 1, [position], 12, torch.device("cpu"))
        order = draw(dict(enumerate(scores[0].exp().tolist())), sampling, "a", 1, position)
        assert order[0] == int(picked.argmax())
        assert sorted(order) == list(range(12))


def test_longer_contexts_come_first_and_shorter_ones_stand_in():
    text = [1, 2, 3, 9, 2, 3, 8, 2, 3, 8, 1, 2, 3]
    assert session(text, branches=1).propose(1).tokens == [9]  # after 1 2 3
    assert session(text, branches=1, order=3).propose(1).tokens == [8]  # after 2 3: twice
    assert {path[0] for path in paths(session(text).propose(30))} == {9, 8}
    assert session([1, 2, 3]).propose(5).tokens == session([4]).propose(5).tokens == []
    assert session([1, 1, 1]).propose(0).tokens == []


def test_drafts_do_not_confirm_themselves():
    lookup = session([1, 2, 5, 1])
    before = lookup.propose(6)
    fed = Verified(
        [1, *before.tokens], [-1, *(p + 1 for p in before.parents)], [0] * 9, [()] * 9, [0], [], torch.empty(0)
    )
    lookup.observe(fed)
    assert lookup.propose(6).tokens == before.tokens
    assert lookup.propose(6).scores[0] < before.scores[0]


def test_a_rewound_session_is_the_one_that_never_went_there():
    rng = random.Random(3)
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
    accept(fresh, tokens[20:])
    rewound.retrieved({"with_context": [9, 8, *tokens[20:30]]})
    assert fresh.propose(8) == rewound.propose(8)


@pytest.mark.parametrize("settings", [{}, {"stochastic": True}, {"order": 2, "stochastic": True, "branches": 1}])
def test_drafts_change_speed_only(settings):
    drafting.assert_speed_only(drafter(**settings))


@pytest.mark.parametrize("stochastic", [False, True])
def test_drafts_are_accepted_where_text_repeats(stochastic):
    assert drafting.tokens_per_pass(drafter(stochastic=stochastic), nodes=8) > 4


class ThreeWays(Rule):
    """One of three tokens follows, each as often, whatever came before."""

    part_name = "three"
    views = ()

    def compose(self, nodes: Nodes) -> torch.Tensor:
        return torch.full_like(nodes.composed, -30.0).index_fill(-1, torch.tensor([4, 5, 6]), 0.0)


def test_the_noise_is_shared_so_that_even_chance_is_drafted():
    """Counts are right one time in three; draws under verification's own noise, nearly always."""
    from ragdecode.decoding.engine import Engine
    from tests.decoding.engines import backend, decode, request

    assert VOCAB > 6
    passes = {}
    for stochastic in (False, True):
        item = request(
            "a",
            {"with_context": [50, 51]},
            rules=[ThreeWays(NoSettings())],
            sampling=Sampling(temperature=1.0, seed=2),
            drafters=[drafter(stochastic=stochastic)],
            max_draft_nodes=5,
            max_new_tokens=100,
        )
        passes[stochastic] = decode(Engine({"main": backend()}), item)["a"].stats.mean_accepted
    assert passes[False] < 2.5
    assert passes[True] > 3.5
