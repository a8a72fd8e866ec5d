"""Running part of a model: sub-layers left out or one by one, and tokens that follow a part of their row only."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from tests.decoding.engines import prompt
from tests.decoding.stock import TOLERANCE, assert_close, chain, stock_logits
from tests.decoding.tiny_models import tiny

#: The stock models norm and rotate in float32 inside, our own forward does not.
OWN_TOLERANCE = 1e-5
OWN = ["llama", "llama_tied", "qwen2", "qwen3", "mistral"]
GENERAL = ["llama", "gemma2", "gemma3", "mistral_sliding", "gpt2", "phi"]


def own(model) -> LlamaBackend:
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=torch.float64)


def without(model, skip: set[int]):
    """The stock model with the contributions of sub-layers replaced by nothing."""
    for index, layer in enumerate(model.model.layers):
        if 2 * index in skip:
            layer.self_attn.forward = lambda hidden_states, **_: (torch.zeros_like(hidden_states), None)
        if 2 * index + 1 in skip:
            layer.mlp.forward = torch.zeros_like
    return model


@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize("skip", [{0}, {3}, {2, 5}, {1, 2, 3, 4}, set(range(8)), set()])
def test_sub_layers_that_are_left_out_contribute_nothing(family, skip):
    model = tiny(family, num_hidden_layers=4)
    backend = own(model)
    row = backend.open_row(40)
    ids = prompt(3, 20)
    got = backend.forward([chain(row, 0, ids, [4, 19])], skip=frozenset(skip)).logits
    patched = without(model, skip)
    assert_close(got[0], stock_logits(patched, ids[:5]), OWN_TOLERANCE)
    assert_close(got[1], stock_logits(patched, ids), OWN_TOLERANCE)


def test_a_pass_without_sub_layers_leaves_what_the_row_holds():
    model = tiny("llama", num_hidden_layers=4)
    backend = own(model)
    row = backend.open_row(40)
    ids, other = prompt(3, 20), prompt(4, 6)
    backend.forward([chain(row, 0, ids[:12])])
    held = backend._rows[row][:, :, :12].clone()
    backend.forward([chain(row, 12, other)], skip=frozenset({0, 3, 4}))
    assert torch.equal(backend._rows[row][:, :, :12], held)
    assert_close(backend.forward([chain(row, 12, ids[12:])]).logits[0], stock_logits(model, ids), OWN_TOLERANCE)


def _followed(backend, model, tolerance: float) -> None:
    rows = [backend.open_row(50) for _ in range(2)]
    texts, others = [prompt(5, 20), prompt(6, 11)], [prompt(7, 6), prompt(8, 4)]
    for row, ids in zip(rows, texts, strict=True):
        backend.forward([chain(row, 0, ids)])
    for seen in (1, 4, 10):
        segments = [
            Segment(row, len(ids), other, range(len(other)), None, [len(other) - 1], seen=seen)
            for row, ids, other in zip(rows, texts, others, strict=True)
        ]
        segments[1] = Segment(rows[1], 11, others[1][:1], [0], None, [0])  # beside one that follows all
        got = backend.forward(segments).logits
        assert_close(got[0], stock_logits(model, [*texts[0][:seen], *others[0]]), tolerance)
        assert_close(got[1], stock_logits(model, [*texts[1], others[1][0]]), tolerance)
    alone = Segment(rows[0], 20, others[0][:1], [0], None, [0], seen=7)
    assert_close(backend.forward([alone]).logits[0], stock_logits(model, [*texts[0][:7], others[0][0]]), tolerance)
    for row, ids in zip(rows, texts, strict=True):
        got = backend.forward([chain(row, len(ids), [9, 8])]).logits[0]
        assert_close(got, stock_logits(model, [*ids, 9, 8]), tolerance)


@pytest.mark.parametrize("family", OWN)
def test_tokens_may_follow_a_part_of_their_row(family):
    model = tiny(family)
    _followed(own(model), model, OWN_TOLERANCE)


@pytest.mark.parametrize("family", GENERAL)
def test_tokens_may_follow_a_part_of_their_row_with_transformers(family):
    model = tiny(family)
    _followed(TransformersBackend(tiny(family)), model, TOLERANCE.get(family, 1e-9))


@pytest.mark.parametrize("make", [own, TransformersBackend])
def test_several_tokens_may_follow_the_row_beside_each_other(make):
    model = tiny("llama")
    backend = make(tiny("llama"))
    row = backend.open_row(40)
    ids = prompt(3, 12)
    backend.forward([chain(row, 0, ids)])
    beside = Segment(row, 12, [5, 6, 7, 8], [0, 0, 1, 0], [-1, -1, 1, -1], range(4))
    got = backend.forward([beside]).logits
    for logits, path in zip(got, ([5], [6], [6, 7], [8]), strict=True):
        assert_close(logits, stock_logits(model, [*ids, *path]), OWN_TOLERANCE)


@pytest.mark.parametrize("family", OWN)
def test_sub_layers_run_one_by_one_make_the_whole_model(family):
    model = tiny(family, num_hidden_layers=3)
    backend = own(model)
    row = backend.open_row(40)
    ids = prompt(3, 15)
    backend.forward([chain(row, 0, ids)])
    candidates = [7, 50, 7, 90]
    states = backend.embed(candidates)
    for part in range(2 * backend.layers):
        states = backend.run_part(part, row, 15, states)
    expected = []
    for token in candidates:
        with torch.no_grad():
            out = model.model(torch.tensor([[*ids, token]]), output_hidden_states=True)
        expected.append(out.last_hidden_state[0, -1])
    assert_close(model.model.norm(states), torch.stack(expected), OWN_TOLERANCE)
    assert_close(backend.forward([chain(row, 15, [3])]).logits[0], stock_logits(model, [*ids, 3]), OWN_TOLERANCE)
