"""Votes, counts and the gate against plain references."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from ragdecode.decoding.knn.gate import Gate
from ragdecode.errors import InputError
from ragdecode.evaluation.knn.asked import Asked
from ragdecode.evaluation.knn.fitting import GateTraining, fit
from ragdecode.evaluation.knn.gating import _features, follow_counts, weights

V = 11


def asked(count: int, k: int = 5, seed: int = 0) -> Asked:
    """Tokens where the state tells whether the neighbours are right."""
    chance = np.random.default_rng(seed)
    useful = chance.random(count) < 0.5
    states = chance.normal(size=(count, 6)).astype(np.float32)
    states[:, 0] = np.where(useful, 2.0, -2.0)
    far = np.sort(chance.random((count, k)) + 1, axis=1).astype(np.float32)
    right = np.broadcast_to(useful[:, None], (count, k)).copy()
    lm = np.log(np.where(useful, 0.1, 0.6))
    return Asked(
        lm, far, right, states, chance.random(count), np.log(chance.random(count)), chance.integers(V, size=count),
        np.zeros(count, np.int64), np.arange(count),
    )  # fmt: skip


def test_votes_are_shares_of_the_neighbours_that_are_right():
    own = asked(50)
    chance = np.random.default_rng(1)
    own.right[:] = chance.random(own.right.shape) < 0.4
    own.distances[3, 2:] = np.inf
    own.distances[4] = np.inf
    found = np.exp(own.votes(0.3))
    for row in range(50):
        scores = [math.exp(-float(one) / 0.3) for one in own.distances[row]]
        mass = sum(one for one, yes in zip(scores, own.right[row], strict=True) if yes)
        assert found[row] == pytest.approx(mass / sum(scores) if sum(scores) else 0.0, abs=1e-12)


def test_what_follows_a_token_is_counted_inside_documents():
    documents = [[1, 2, 1, 3, 1, 2], [2, 2], [5]]
    values = np.array([one for own in documents for one in own])
    frequency, fertility = follow_counts(values, np.array([0, 6, 8, 9]), V)
    for token in range(V):
        behind = {b for own in documents for a, b in pairwise(own) if a == token}
        assert frequency[token] == pytest.approx(math.log1p((values == token).sum()))
        assert fertility[token] == pytest.approx(math.log1p(len(behind)))


def test_the_gate_finds_where_the_neighbours_help_and_a_fixed_weight_cannot():
    own = asked(1600)
    counts = follow_counts(np.arange(V), np.array([0, V]), V)
    found = fit(own, 1.0, GateTraining(*counts))
    assert found.gate is not None
    assert found.figures["gate"]["perplexity"] < found.figures["fixed"]["perplexity"] < found.figures["lm"]
    told = weights(found.gate, own)
    assert told[own.right[:, 0]].min() > 0.5 > told[~own.right[:, 0]].max()
    again = fit(own, 1.0, GateTraining(*counts))
    assert again.figures == found.figures


def test_the_features_are_those_that_the_gate_computes_while_decoding():
    torch.manual_seed(0)
    gate = Gate(6, V)
    gate.frequency.copy_(torch.rand(V))
    gate.fertility.copy_(torch.rand(V))
    log_probs = torch.log_softmax(torch.randn(7, V, dtype=torch.float64), dim=-1)
    states, last = torch.randn(7, 6), torch.randint(V, (7,))
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    nothing = np.zeros(7)
    own = Asked(
        nothing, np.zeros((7, 1), np.float32), np.ones((7, 1), bool), states.numpy(), entropy.numpy(),
        log_probs.amax(dim=-1).numpy(), last.numpy(), np.zeros(7, np.int64), np.arange(7),
    )  # fmt: skip
    torch.testing.assert_close(_features(gate.eval(), own), gate.features(states, log_probs, last))
    np.testing.assert_allclose(weights(gate, own), gate.weight(states, log_probs, last).numpy(), atol=1e-6)


def test_text_of_few_stretches_is_refused():
    with pytest.raises(InputError, match="320 are needed"):
        fit(asked(200), 1.0)
