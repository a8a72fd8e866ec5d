"""Vectors of the last block, as memories keep them, against hooks on stock models."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from tests.decoding.engines import prompt
from tests.decoding.stock import TOLERANCE, assert_close, chain
from tests.decoding.tiny_models import FAMILIES, tiny

#: The stock models norm and rotate in float32 inside, our own forward does not.
OWN_TOLERANCE = 1e-5
OWN = ["llama", "llama_tied", "qwen2", "qwen3", "mistral"]
NAMES = ("ffn_input", "block_output", "final")
#: Module of the last block's feed-forward part, where it is not ``model.layers.1.mlp``.
FEED_FORWARD = {
    "gpt2": "transformer.h.1.mlp",
    "gpt_neox": "gpt_neox.layers.1.mlp",
    "opt": "model.decoder.layers.1.fc1",
    "opt_projected": "model.decoder.layers.1.fc1",
    "falcon": "transformer.h.1.mlp",
    "falcon_alibi": "transformer.h.1.mlp",
}
GENERAL = [family for family in FAMILIES if family != "falcon_alibi"]


def stock_taps(model, family: str, ids: list[int]) -> dict[str, torch.Tensor]:
    """All three of every token ``[n, W]``, from one plain pass of the stock model."""
    place = FEED_FORWARD.get(family, "model.layers.1.mlp")
    found: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(place).register_forward_pre_hook(
            lambda _, args: found.update(ffn_input=args[0].reshape(len(ids), -1))
        ),
        model.get_submodule(place.rpartition(".")[0]).register_forward_hook(
            lambda _, args, out: found.update(block_output=(out if isinstance(out, torch.Tensor) else out[0])[0])
        ),
        model.get_output_embeddings().register_forward_pre_hook(lambda _, args: found.update(final=args[0][0])),
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return found


def own(model) -> LlamaBackend:
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=torch.float64)


def check(backend, model, family: str, tolerance: float) -> None:
    """Two rows of different lengths in one pass, then a tree under the first, told only where it is wanted."""
    first, second = prompt(3, 20), prompt(4, 9)
    rows = [backend.open_row(40), backend.open_row(40)]
    output = backend.forward(
        [chain(rows[0], 0, first[:12], [3, 11]), chain(rows[1], 0, second, list(range(9)))], taps=NAMES
    )
    wanted = {"ffn_input": backend.taps["ffn_input"], "block_output": backend.taps["block_output"]}
    assert wanted == {name: output.taps[name].shape[1] for name in wanted}
    expected, other = stock_taps(model, family, first[:12]), stock_taps(model, family, second)
    for name in NAMES:
        assert output.taps[name].shape[0] == 11
        assert_close(output.taps[name][:2], expected[name][[3, 11]], tolerance)
        assert_close(output.taps[name][2:], other[name], tolerance)
    a, b, c = first[12:15]
    tree = Segment(rows[0], 12, [a, b, c], [0, 1, 1], [-1, 0, 0], [1, 2])
    found = backend.forward([tree], taps=NAMES).taps
    for at, path in enumerate(([a, b], [a, c])):
        told = stock_taps(model, family, [*first[:12], *path])
        for name in NAMES:
            assert_close(found[name][at], told[name][-1], tolerance)


@pytest.mark.parametrize("family", OWN)
def test_our_own_forward_tells_what_hooks_on_the_stock_model_see(family):
    model = tiny(family)
    check(own(model), model, family, OWN_TOLERANCE)


@pytest.mark.parametrize("family", GENERAL)
def test_the_general_backend_tells_what_hooks_on_the_stock_model_see(family):
    model = tiny(family)
    check(TransformersBackend(model), model, family, TOLERANCE.get(family, 1e-9))


@pytest.mark.parametrize("make", [own, TransformersBackend])
def test_a_pass_without_logits_tells_and_remembers_the_same(make):
    model = tiny("llama")
    backend = make(model)
    ids = prompt(5, 15)
    rows = [backend.open_row(30), backend.open_row(30)]
    full = backend.forward([chain(rows[0], 0, ids[:14], [2, 13])], taps=NAMES)
    bare = backend.forward([chain(rows[1], 0, ids[:14], [2, 13])], taps=NAMES, logits=False)
    assert bare.logits.shape == (0, backend.vocab_size)
    assert full.logits.shape == (2, backend.vocab_size)
    for name in NAMES:
        assert torch.equal(bare.taps[name], full.taps[name])
    after = [backend.forward([chain(row, 14, ids[14:], [0])]).logits for row in rows]
    assert torch.equal(after[0], after[1])


def test_states_and_skipped_parts_agree_with_taps():
    model = tiny("llama", num_hidden_layers=3)
    backend = own(model)
    row = backend.open_row(30)
    ids = prompt(6, 10)
    output = backend.forward([chain(row, 0, ids, [0, 9])], states=(2,), hidden=True, taps=NAMES)
    assert torch.equal(output.states[2], output.taps["block_output"])
    assert torch.equal(output.hidden, output.taps["final"])
    skipped = backend.forward([chain(row, 0, ids, [0, 9])], skip=frozenset({5}), taps=NAMES)
    assert torch.equal(skipped.taps["ffn_input"], output.taps["ffn_input"])
    norm = model.model.layers[2].post_attention_layernorm
    assert_close(norm(skipped.taps["block_output"]), output.taps["ffn_input"], OWN_TOLERANCE)


def test_nothing_is_told_that_was_not_asked_for():
    backend = own(tiny("llama"))
    row = backend.open_row(30)
    assert backend.forward([chain(row, 0, prompt(7, 5))]).taps == {}
    assert set(backend.forward([chain(row, 0, prompt(7, 5))], taps=("final",)).taps) == {"final"}
