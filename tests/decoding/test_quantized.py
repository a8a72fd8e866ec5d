"""Weights in 4 bits: what the layer computes, what it drafts, and that tokens stay the same."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.nn import functional

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.int4 import GROUP, HalfLinear, Int4Linear, int4_fails, quantise
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.quantized import Quantized, QuantizedSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.errors import InputError
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt, request
from tests.decoding.tiny_models import tiny

pytestmark = pytest.mark.skipif(
    int4_fails(torch.device("cpu")) is not None, reason="this processor has no 4-bit product"
)
VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}


@cache
def stock(seed: int = 0):
    return tiny("llama", vocab_size=VOCAB, seed=seed, **SIZES)


@cache
def weights() -> dict[str, torch.Tensor]:
    """A model that was stored in 4 bits, as the default one was: the copy then is a good one."""
    return {name: four_bits(tensor) if "proj" in name else tensor for name, tensor in stock().state_dict().items()}


def four_bits(weight: torch.Tensor) -> torch.Tensor:
    levels, scales = quantise(weight)
    scale, middle = scales.double().transpose(0, 1).repeat_interleave(GROUP, dim=1).unbind(-1)
    return (levels - 8) * scale + middle


def own(*, light: bool = True) -> LlamaBackend:
    return LlamaBackend(stock().config.to_dict(), weights(), dtype=torch.float64, light=light)


def drafter(**settings) -> Quantized:
    return Quantized(QuantizedSettings(**{"gain": 0.0, **settings}))


def test_levels_and_scales_give_the_weight_back_within_half_a_level():
    weight = torch.randn(8, 4 * GROUP, generator=torch.Generator().manual_seed(1))
    weight[3, :GROUP] = 0.25  # a constant group has no range
    levels, scales = quantise(weight)
    assert levels.dtype is torch.int32
    assert levels.min() >= 0
    assert levels.max() <= 15
    for row in range(8):
        for group in range(4):
            part = weight[row, group * GROUP : (group + 1) * GROUP]
            scale, middle = scales[group, row].double().tolist()
            back = (levels[row, group * GROUP : (group + 1) * GROUP] - 8) * scale + middle
            half = (part.max() - part.min()).item() / 30
            rounding = 2**-8 * (8 * abs(scale) + abs(middle))  # scales are bfloat16
            assert (back - part).abs().max() <= half + rounding + 1e-6


def test_weights_that_were_four_bits_already_survive():
    generator = torch.Generator().manual_seed(2)
    levels = torch.randint(0, 16, (16, 2 * GROUP), generator=generator)
    levels[:, ::GROUP], levels[:, 1::GROUP] = 0, 15  # the ends of the range are taken
    scale = torch.tensor(2.0**-4)
    found, scales = quantise((levels - 8) * scale)
    assert torch.equal(found, levels.to(torch.int32))
    assert torch.equal(scales[..., 0].unique(), scale.bfloat16()[None])
    assert scales[..., 1].abs().max() == 0


@pytest.mark.parametrize("shape", [(48, 96), (33, 64), (16, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_is_close_to_the_weight_it_was_made_of(shape, dtype):
    generator = torch.Generator().manual_seed(3)
    weight, bias = (
        torch.randn(shape, generator=generator).to(dtype),
        torch.randn(shape[0], generator=generator).to(dtype),
    )
    x = torch.randn(5, shape[1], generator=generator).to(dtype)
    expected = functional.linear(x, weight, bias)
    for kind, most in ((Int4Linear, 0.12), (HalfLinear, 0.01)):
        result = kind(weight, bias)(x)
        assert result.dtype is dtype
        assert result.shape == expected.shape
        assert (result - expected).norm() / (expected - bias).norm() < most


def test_a_light_pass_leaves_the_exact_one_alone():
    backend, plain = own(), own(light=False)
    ids = prompt(4, 20)
    row, other, third = backend.open_row(20), backend.open_row(20), plain.open_row(20)
    segments = [Segment(handle, 0, ids, range(20), None, range(20)) for handle in (row, other, third)]
    light = backend.forward(segments[:1], light=True).logits
    exact = backend.forward(segments[1:2]).logits
    assert torch.equal(exact, plain.forward(segments[2:]).logits)
    difference = (light.log_softmax(-1) - exact.log_softmax(-1)).abs().max()
    assert 1e-6 < difference < 0.5


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("rules", [(), [Cad(CadSettings(alpha=0.5))]])
@pytest.mark.parametrize("settings", [{}, {"width": 3, "branch": 3, "depth": 4}])
def test_tokens_are_those_without_drafts_and_most_drafts_are_right(temperature, rules, settings):
    more = {"rules": rules, "sampling": Sampling(temperature=temperature, seed=5), "max_new_tokens": 24}
    plain = decode(Engine({"main": own()}), request("a", VIEWS, **more))["a"]
    drafted = decode(Engine({"main": own()}), request("a", VIEWS, drafters=[drafter(**settings)], **more))["a"]
    assert drafted.tokens == plain.tokens
    assert [r.logprob for r in drafted.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-9)
    if not rules:
        assert drafted.stats.mean_accepted > 2.5


def test_beside_other_drafters_and_in_a_batch():
    names = ["a", "b", "c"]
    views = {name: {"with_context": prompt(seed, 20 + seed)} for seed, name in enumerate(names)}
    plain = {
        name: decode(Engine({"main": own()}), request(name, views[name], max_new_tokens=20))[name] for name in names
    }
    mixed = [drafter(), TreeDrafter(plain["a"].tokens, 3)]
    asked = [request(name, views[name], max_new_tokens=20, drafters=mixed, max_draft_nodes=12) for name in names]
    together = decode(Engine({"main": own()}, prefill_tokens=16), *asked)
    assert {name: result.tokens for name, result in together.items()} == {
        name: result.tokens for name, result in plain.items()
    }


def test_where_there_are_no_light_weights_it_refuses_or_idles():
    general = TransformersBackend(stock().to(torch.float64))
    asked = {"views": VIEWS, "max_new_tokens": 6}
    with pytest.raises(InputError, match="quantized needs a copy of the weights in 4 bits: this backend keeps none"):
        decode(Engine({"main": general}), request("a", asked["views"], drafters=[drafter()], max_new_tokens=6))
    idle = decode(
        Engine({"main": general}), request("a", VIEWS, drafters=[drafter(otherwise="idle")], max_new_tokens=6)
    )["a"]
    assert idle.stats.drafted == 0
    assert len(idle.tokens) == 6
