"""How nearly another token would have been picked: against moves of the scores that are tried out one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ragdecode.decoding.constraints.ban import Ban, BanSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import TARGET, Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.evaluation.margins import Scores, scores_at
from tests.decoding.engines import VOCAB, backend, decode, prompt

V = 12


def scores(table=0, answer=(), **sampling) -> Scores:
    logits = torch.randn(V, generator=torch.Generator().manual_seed(table), dtype=torch.float64) * 2
    request = Request("r", {TARGET: View([1])}, sampling=Sampling(**sampling), end_tokens=frozenset({V - 1, V - 2}))
    return Scores(request, answer, torch.log_softmax(logits, dim=-1))


def test_without_sampling_it_is_the_difference_of_log_probabilities():
    found = scores()
    order = found.log_probs.argsort(descending=True).tolist()
    assert found.picked() == order[0]
    for other in order[1:]:
        wanted = float(found.log_probs[order[0]] - found.log_probs[other])
        assert found.margin(order[0], other) == pytest.approx(wanted, rel=1e-9)
    assert found.margin(order[1], order[0]) is None  # not what is picked
    assert found.margin(order[0], order[0]) is None
    assert found.margin(None, order[0]) is None  # it does not end here


def test_the_end_of_an_answer_is_its_best_end_token():
    found = scores()
    best = found.picked()
    ends = max(float(found.log_probs[V - 1]), float(found.log_probs[V - 2]))
    assert found.margin(best, None) == pytest.approx(float(found.log_probs[best]) - ends, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_sampled_it_is_the_difference_of_perturbed_scores_times_the_temperature(temperature):
    found = scores(3, answer=(4, 5), temperature=temperature, seed=9)
    noise = gumbel(9, "r", 0, [2], V, torch.device("cpu"))[0]
    perturbed = found.log_probs / temperature + noise
    order = perturbed.argsort(descending=True).tolist()
    assert found.picked() == order[0]
    for other in order[1:]:
        wanted = float(perturbed[order[0]] - perturbed[other]) * temperature
        assert found.margin(order[0], other) == pytest.approx(wanted, rel=1e-6)


def test_the_penalty_stretches_what_was_said_already():
    plain = scores()
    order = plain.log_probs.argsort(descending=True).tolist()
    found = scores(answer=(order[0],), repetition_penalty=1.5)
    penalised = plain.log_probs.clone()
    penalised[order[0]] *= 1.5
    best, other = penalised.argsort(descending=True).tolist()[:2]
    assert found.picked() == best
    # the picked one falls by nats / 2 and the other rises by it, each times its own penalty
    slopes = (1.5 if best == order[0] else 1.0) + (1.5 if other == order[0] else 1.0)
    wanted = 2 * float(penalised[best] - penalised[other]) / slopes
    assert found.margin(best, other) == pytest.approx(wanted, rel=1e-6)


def test_getting_past_top_k_counts():
    # the noise would pick a token that top-k keeps out by a hair
    for seed in range(200):
        found = scores(seed, temperature=5.0, top_k=2, seed=seed)
        order = found.log_probs.argsort(descending=True).tolist()
        noise = gumbel(seed, "r", 0, [0], V, torch.device("cpu"))[0]
        perturbed = found.log_probs / 5.0 + noise
        if int(perturbed[order[:3]].argmax()) != 2:
            continue
        picked = found.picked()
        assert picked in order[:2]
        nats = found.margin(picked, order[2])
        # it gets in when it meets the second, which falls while it rises; by then it must also be the best
        assert nats == pytest.approx(float(found.log_probs[order[1]] - found.log_probs[order[2]]), rel=1e-6)
        return
    pytest.fail("no such case")


@pytest.mark.parametrize("sampling", [{"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 3, "min_p": 0.05}, {"top_p": 0.3}])
def test_moved_by_the_margin_the_pick_changes_and_by_less_it_does_not(sampling):
    seen = 0
    for seed in range(2):
        found = scores(seed, temperature=1.5, seed=seed, **sampling)
        picked = found.picked()
        for other in range(V):
            nats = found.margin(picked, other)
            if nats is None:
                continue
            seen += 1
            assert flips(found, picked, other, 1.001 * nats)
            shares = (0.5, 0.9, 0.999)
            if "top_p" in sampling:  # what a move does there, a larger one can undo and a still larger one do again
                shares = (
                    () if any(flips(found, picked, other, nats * share / 50) for share in range(1, 49)) else (0.999,)
                )
            assert not any(flips(found, picked, other, nats * share) for share in shares)
    assert seen > 4


def flips(found, picked, other, nats):
    moved = [found.log_probs + way * nats / 2 for way in directions(found, picked, other)]
    ranks = [Scores(found.request, (), table)._final(table) for table in moved]
    return any(bool(rank[other] >= rank[picked] and rank[other] > -math.inf) for rank in ranks)


def directions(found, picked, other):
    """All tokens towards the other one, or all away from the picked one."""
    lift = torch.tensor([-1.0 if value > found.log_probs[other] else 1.0 for value in found.log_probs])
    sink = torch.tensor([1.0 if value > found.log_probs[picked] else -1.0 for value in found.log_probs])
    for way in (lift, sink):
        way[picked], way[other] = -1.0, 1.0
    return lift.double(), sink.double()


def test_scores_are_read_where_an_undrafted_run_stood():
    engine = Engine({"main": backend()})
    views = {TARGET: View(prompt(1, 20)), "without_context": View(prompt(2, 6))}
    request = Request("a", views, rules=(Cad(CadSettings(alpha=0.7)),), max_new_tokens=10, alternatives=3)
    (result,) = decode(engine, request).values()

    def run(one):
        yield from engine.run([one])

    for place in (0, 4, 9):
        found = scores_at(run, request, result.tokens[:place])
        best, second, _ = result.records[place].alternatives
        assert found.picked() == best.token == result.tokens[place]
        assert found.margin(best.token, second.token) == pytest.approx(best.logprob - second.logprob, rel=1e-6)
        banned = replace(request, constraints=(Ban(BanSettings(tokens=(second.token,))),))
        assert Scores(banned, found.answer, found.log_probs).margin(best.token, second.token) is None
    assert not engine.busy
    assert scores_at(run, request, [*result.tokens[:3], VOCAB - 1, 5]) is None
