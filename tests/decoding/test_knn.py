"""The arithmetic of kNN-LM: against sums written out one by one, and the identities that must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ragdecode.decoding.knn.tuning import Buckets, temperature, tune
from ragdecode.decoding.knn.voting import entropy_gate, mix, shares, votes


def naive_votes(distances, values, heat: float, vocab: int) -> list[float]:
    """Probability of each token, neighbour by neighbour."""
    there = [(d, v) for d, v in zip(distances, values, strict=True) if v >= 0]
    total = sum(math.exp(-d / heat) for d, _ in there)
    return [
        sum(math.exp(-d / heat) for d, v in there if v == token) / total if there else 0.0 for token in range(vocab)
    ]


def world(seed: int = 0, nodes: int = 6, k: int = 9, vocab: int = 13):
    rng = torch.Generator().manual_seed(seed)
    composed = torch.log_softmax(torch.randn(nodes, vocab, generator=rng, dtype=torch.float64) * 2, dim=-1)
    distances = torch.rand(nodes, k, generator=rng, dtype=torch.float64) * 5
    values = torch.randint(0, 5, (nodes, k), generator=rng)
    values[1, 4:], distances[1, 4:] = -1, torch.inf  # few neighbours
    values[2], distances[2] = -1, torch.inf  # none
    return composed, distances, values


@pytest.mark.parametrize("heat", [0.05, 1.0, 30.0])
def test_votes_and_mixtures_are_those_of_plain_sums(heat):
    composed, distances, values = world()
    share = shares(distances, values, heat)
    table = votes(share, values, 13)
    mixed = mix(composed, share, values, torch.full((6,), 0.25, dtype=torch.float64))
    for node in range(6):
        expected = naive_votes(distances[node].tolist(), values[node].tolist(), heat, 13)
        assert table[node].tolist() == pytest.approx(expected, abs=1e-12)
        for token in range(13):
            p = math.exp(composed[node, token])
            wanted = p if node == 2 else 0.75 * p + 0.25 * expected[token]
            assert math.exp(mixed[node, token]) == pytest.approx(wanted, abs=1e-12)
    assert torch.allclose(mixed.exp().sum(-1), torch.ones(6, dtype=torch.float64))


def test_without_weight_or_neighbours_nothing_changes_to_the_last_bit():
    composed, distances, values = world(1)
    share = shares(distances, values, 1.0)
    assert torch.equal(mix(composed, share, values, torch.zeros(6)), composed)
    assert torch.equal(mix(composed, share, values, torch.full((6,), 0.4))[2], composed[2])
    assert torch.isfinite(share).all()


def test_a_token_gains_exactly_where_the_neighbours_give_it_more_and_the_loss_is_bounded():
    for seed in range(20):
        composed, distances, values = world(seed)
        share = shares(distances, values, 0.7)
        table = votes(share, values, 13)
        for weight in (0.01, 0.25, 0.9):
            delta = mix(composed, share, values, torch.full((6,), weight, dtype=torch.float64)) - composed
            rows = torch.tensor([0, 1, 3, 4, 5])
            assert torch.equal(delta[rows] > 0, table[rows] > composed.exp()[rows])
            assert (delta >= math.log(1 - weight) - 1e-12).all()


def test_what_is_impossible_stays_so():
    composed, distances, values = world(2)
    composed[:, values[0, 0]] = -torch.inf
    mixed = mix(composed, shares(distances, values, 1.0), values, torch.full((6,), 0.5, dtype=torch.float64))
    assert torch.isneginf(mixed[:, values[0, 0]]).all()
    assert not torch.isnan(mixed).any()


def test_limits_of_the_temperature():
    _, distances, values = world(3)
    hot = votes(shares(distances, values, 1e9), values, 13)
    assert hot[0].tolist() == pytest.approx([(values[0] == token).sum().item() / 9 for token in range(13)], abs=1e-6)
    cold = votes(shares(distances, values, 1e-9), values, 13)
    assert cold[0].argmax() == values[0, distances[0].argmin()]
    assert cold[0].max() == pytest.approx(1.0)
    far = shares(distances * 1e30, values, 1.0)
    assert torch.isfinite(far).all()


def test_a_node_does_not_depend_on_the_others():
    composed, distances, values = world(4)
    weight = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
    together = mix(composed, shares(distances, values, 0.5), values, weight)
    for node in range(6):
        own = slice(node, node + 1)
        alone = mix(composed[own], shares(distances[own], values[own], 0.5), values[own], weight[own])
        assert torch.equal(alone[0], together[node])


def test_the_gate_closes_where_the_model_is_sure_and_where_neighbours_disagree():
    vocab = 8
    sure = torch.full((vocab,), 1e-9, dtype=torch.float64)
    sure[3] = 1.0
    composed = torch.stack([sure, torch.ones(vocab), torch.ones(vocab), torch.ones(vocab)])
    composed = (composed / composed.sum(-1, keepdim=True)).double().log()
    values = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 2, 3], [1, 1, 2, 2]])
    share = torch.full((4, 4), 0.25, dtype=torch.float64)
    gate = entropy_gate(composed, share, values, 0.4, 0.5)
    assert gate.tolist() == pytest.approx([0.0, 0.4, 0.0, 0.2], abs=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_temperature_is_that_at_which_so_many_neighbours_are_heard(scale):
    distances = np.sort(np.random.default_rng(0).gamma(3, size=(41, 100)), axis=1) * scale
    heat = temperature(distances, 16)
    share = shares(torch.tensor(distances), torch.zeros(41, 100, dtype=torch.long), heat)
    heard = torch.exp(-(share * share.clamp(min=1e-300).log()).sum(-1))
    assert heard.median().item() == pytest.approx(16, rel=1e-6)
    few = distances[:, :10].copy()
    few[:, 7:] = np.inf
    assert temperature(few, 16) > 0
    with pytest.raises(ValueError, match="different distances"):
        temperature(np.ones((5, 4)))


def test_buckets_take_the_best_weight_of_the_grid():
    rng = np.random.default_rng(1)
    near = rng.random(4000) * 10
    model = np.log(rng.random(4000))
    helpful = near < 5
    votes_ = np.where(helpful, np.log(0.9), -np.inf)
    found = tune(model, votes_, near, buckets=8)
    assert len(found.weights) == 8
    assert (found.weights[:3] > 0.9).all()
    assert (found.weights[-3:] == 0).all()
    assert found.weight(np.array([0.1, 9.9, np.inf])).tolist() == [found.weights[0], 0.0, 0.0]
    for bucket in range(8):
        inside = np.searchsorted(found.edges, near, side="right") == bucket
        losses = [
            -np.log((1 - w) * np.exp(model[inside]) + w * np.exp(votes_[inside])).sum() for w in np.arange(100) / 100
        ]
        assert found.weights[bucket] == np.arange(100)[int(np.argmin(losses))] / 100
    one = tune(model, votes_, near, buckets=1)
    assert one.weights.shape == (1,)
    assert one.edges.size == 0
    assert len(tune(model[:120], votes_[:120], near[:120]).weights) == 2
    same = tune(model, votes_, np.ones(4000))
    assert same.weight(np.array([0.5, 1.0]))[1] == same.weights[-1]
    with pytest.raises(ValueError, match="no token"):
        tune(model, votes_, np.full(4000, np.inf))


def test_buckets_at_an_edge_belong_to_the_next():
    buckets = Buckets(np.array([1.0, 2.0]), np.array([0.1, 0.2, 0.3]))
    assert buckets.weight(np.array([0.9, 1.0, 1.5, 2.0, 7.0])).tolist() == [0.1, 0.2, 0.2, 0.3, 0.3]
