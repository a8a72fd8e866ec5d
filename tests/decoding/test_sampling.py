"""Noise and transforms, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.sampling import penalise, warp
from tests.reference import naive

CPU = torch.device("cpu")


def test_noise_is_standard_gumbel():
    sample = gumbel(0, "r", 0, range(40), 5000, CPU).flatten()
    assert sample.mean().item() == pytest.approx(0.57722, abs=0.01)  # Euler's constant
    assert sample.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)
    for q in (0.01, 0.25, 0.5, 0.9, 0.999):
        point = -math.log(-math.log(q))
        assert (sample <= point).double().mean().item() == pytest.approx(q, abs=0.004)


def test_noise_depends_on_seed_request_epoch_and_position_and_on_nothing_else():
    base = gumbel(1, "a", 0, [4], 64, CPU)
    assert torch.equal(base, gumbel(1, "a", 0, [2, 4, 9], 64, CPU)[1:2])
    assert torch.equal(base, gumbel(1, "a", 0, [4], 200, CPU)[:, :64])
    for other in (gumbel(2, "a", 0, [4], 64, CPU), gumbel(1, "b", 0, [4], 64, CPU), gumbel(1, "a", 1, [4], 64, CPU)):
        assert not torch.equal(base, other)
        assert abs(torch.corrcoef(torch.cat([base, other]))[0, 1].item()) < 0.4


def test_noise_is_the_same_on_every_machine():
    """Golden values: SplitMix64 by counter, worked out with Python integers."""
    import hashlib

    key = int.from_bytes(hashlib.blake2b(b"7\x00id\x002\x005", digest_size=8).digest(), "little")
    mask = (1 << 64) - 1
    expected = []
    for token in range(1, 6):
        x = (key + token * 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        x ^= x >> 31
        expected.append(-math.log(-math.log(((x >> 11) + 0.5) / 2**53)))
    assert gumbel(7, "id", 2, [5], 5, CPU)[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"), [(0, 1.0, 0.0), (3, 1.0, 0.0), (0, 0.5, 0.0), (0, 1.0, 0.3), (9, 0.7, 0.1)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transforms_equal_their_definitions(temperature, top_k, top_p, min_p, dtype):
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64).log_softmax(-1)
    got = warp(scores.to(dtype), Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)).exp()
    for row in range(4):
        expected = naive.warped(scores[row], temperature, top_k, top_p, min_p)
        assert got[row].tolist() == pytest.approx(torch.as_tensor(expected).tolist(), abs=1e-5)


def test_no_filter_ever_removes_the_best_token():
    scores = torch.tensor([[-50.0, -60.0, -60.0]])
    for sampling in (
        Sampling(temperature=1, top_p=1e-9),
        Sampling(temperature=1, min_p=1.0),
        Sampling(temperature=0.01, top_k=1),
    ):
        assert warp(scores, sampling).exp().tolist()[0] == pytest.approx([1, 0, 0], abs=1e-6)


def test_forbidden_tokens_stay_forbidden_through_all_transforms():
    scores = torch.tensor([[0.0, float("-inf"), -1.0, -2.0]])
    penalised = penalise(scores, torch.tensor([[True, True, False, False]]), 2.0)
    got = warp(penalised, Sampling(temperature=0.7, top_k=3, top_p=0.99, min_p=0.001))
    assert torch.isneginf(got[0, 1])
    assert not got.isnan().any()


def test_the_penalty_lowers_seen_tokens_only():
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log()
    got = penalise(scores, torch.tensor([[True, False, True]]), 1.5)
    assert got.tolist()[0] == pytest.approx([1.5 * math.log(0.5), math.log(0.3), 1.5 * math.log(0.2)])
