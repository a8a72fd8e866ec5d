"""Our own Llama forward equals a plain reference and transformers, over ragged rows and trees."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.linear import PACKED, PLAIN, PackedLinear, PlainLinear, choose
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.errors import InputError, RunError
from tests.decoding.tiny_models import tiny
from tests.reference import llama as reference

FAMILIES = ["llama", "llama_tied", "qwen2", "qwen3", "mistral"]


def _backend(model, dtype=torch.float64, **kwargs):
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=dtype, **kwargs)


def _theta(model):
    return model.config.to_dict()["rope_parameters"]["rope_theta"]


def _reference(model, ids):
    return reference.logits(model.config.to_dict(), model.state_dict(), ids, _theta(model))


def _random_tree(rng, base_token, size, vocab):
    tokens, parents, depths = [base_token], [-1], [0]
    for _ in range(size - 1):
        parent = rng.randrange(len(tokens))
        tokens.append(rng.randrange(vocab))
        parents.append(parent)
        depths.append(depths[parent] + 1)
    order = sorted(range(size), key=lambda i: (depths[i], i))
    where = {old: new for new, old in enumerate(order)}
    return (
        [tokens[i] for i in order],
        [where[parents[i]] if i else -1 for i in order],
        [depths[i] for i in order],
    )


def _path(tokens, parents, node):
    path = []
    while node >= 0:
        path.append(tokens[node])
        node = parents[node]
    return path[::-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chain_equals_the_plain_reference_to_1e9(family):
    model = tiny(family)
    backend = _backend(model)
    ids = torch.randint(0, backend.vocab_size, (19,), generator=torch.Generator().manual_seed(3)).tolist()
    row = backend.open_row(32)
    out = backend.forward([Segment(row, 0, ids, range(19), None, range(19))])
    assert (out.logits - _reference(model, ids)).abs().max() < 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_agrees_with_transformers(family):
    model = tiny(family, dtype=torch.float32)
    backend = _backend(model, dtype=torch.float32)
    ids = list(range(5, 45))
    row = backend.open_row(64)
    mine = backend.forward([Segment(row, 0, ids, range(40), None, range(40))]).logits
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0]
    assert (mine - theirs).abs().max() < 2e-3 * theirs.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_ragged_rows_with_trees_equal_each_nodes_own_path(family, seed):
    model = tiny(family)
    backend = _backend(model)
    rng = random.Random(seed)
    vocab = backend.vocab_size
    prompts = [[rng.randrange(vocab) for _ in range(length)] for length in (3, 17, 9)]
    rows = [backend.open_row(48) for _ in prompts]
    backend.forward(
        [
            Segment(row, 0, prompt[:-1], range(len(prompt) - 1), None, ())
            for row, prompt in zip(rows, prompts, strict=True)
        ]
    )
    trees = [_random_tree(rng, prompt[-1], size, vocab) for prompt, size in zip(prompts, (12, 1, 7), strict=True)]
    out = backend.forward(
        [
            Segment(row, len(prompt) - 1, tokens, depths, parents, range(len(tokens)))
            for row, prompt, (tokens, parents, depths) in zip(rows, prompts, trees, strict=True)
        ]
    ).logits
    at = 0
    for prompt, (tokens, parents, _) in zip(prompts, trees, strict=True):
        for node in range(len(tokens)):
            expected = _reference(model, prompt[:-1] + _path(tokens, parents, node))[-1]
            assert (out[at] - expected).abs().max() < 1e-9
            at += 1


def test_a_kept_path_continues_like_a_fresh_prefill():
    model = tiny("llama")
    backend = _backend(model)
    rng = random.Random(5)
    prompt = [rng.randrange(backend.vocab_size) for _ in range(8)]
    row = backend.open_row(64)
    backend.forward([Segment(row, 0, prompt[:-1], range(7), None, ())])
    tokens, parents, depths = _random_tree(rng, prompt[-1], 10, backend.vocab_size)
    backend.forward([Segment(row, 7, tokens, depths, parents, range(10))])
    leaf = max(range(10), key=lambda node: depths[node])
    nodes, node = [], leaf
    while node >= 0:
        nodes.append(node)
        node = parents[node]
    backend.keep(row, 7, nodes[::-1])
    text = prompt[:-1] + _path(tokens, parents, leaf)
    got = backend.forward([Segment(row, len(text), [11, 12], [0, 1], None, [0, 1])]).logits
    assert (got - _reference(model, [*text, 11, 12])[-2:]).abs().max() < 1e-9


def test_folded_and_grouped_attention_agree_at_the_border():
    model = tiny("llama")
    backend = _backend(model)
    ids = torch.randint(0, backend.vocab_size, (90,), generator=torch.Generator().manual_seed(0)).tolist()
    whole = backend.open_row(90)
    out = backend.forward([Segment(whole, 0, ids, range(90), None, [89])]).logits
    pieces = backend.open_row(90)
    for start, stop in ((0, 63), (63, 89)):
        backend.forward([Segment(pieces, start, ids[start:stop], range(stop - start), None, ())])
    last = backend.forward([Segment(pieces, 89, ids[89:], [0], None, [0])]).logits
    assert (out - last).abs().max() < 1e-9


@pytest.mark.parametrize("wanted", [(), (197,), (5, 130, 190, 197), tuple(range(198))])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_long_chunks_equal_the_reference_at_the_wanted_tokens_and_in_the_cache(family, wanted):
    model = tiny(family)
    backend = _backend(model)
    ids = torch.randint(0, backend.vocab_size, (250,), generator=torch.Generator().manual_seed(5)).tolist()
    row, other = backend.open_row(250), backend.open_row(250)
    beside = Segment(other, 0, ids[:3], range(3), None, [1])  # a short row in the same pass
    backend.forward([Segment(row, 0, ids[:51], range(51), None, ())])
    output = backend.forward([Segment(row, 51, ids[51:249], range(198), None, wanted), beside], hidden=True)
    expected = _reference(model, ids)
    for got, index in zip(output.logits, wanted, strict=False):
        assert (got - expected[51 + index]).abs().max() <= 1e-9
    assert (output.logits[-1] - expected[1]).abs().max() <= 1e-9
    assert output.hidden.shape == (len(wanted) + 1, backend.hidden_size)
    last = backend.forward([Segment(row, 249, ids[249:], [0], None, [0])])
    assert (last.logits[0] - expected[249]).abs().max() <= 1e-9


def test_llama3_frequency_scaling_equals_transformers():
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    model = tiny("llama", dtype=torch.float32, rope_parameters=scaling, head_dim=32)
    backend = _backend(model, dtype=torch.float32)
    ids = [token % 97 for token in range(3, 123)]
    row = backend.open_row(120)
    mine = backend.forward([Segment(row, 0, ids, range(120), None, range(120))]).logits
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0]
    assert (mine - theirs).abs().max() < 2e-3 * theirs.abs().max()
    plain = tiny("llama", dtype=torch.float32, head_dim=32)
    with torch.no_grad():
        unscaled = plain(torch.tensor([ids])).logits[0]
    assert (unscaled - theirs).abs().max() > 1e-2  # the scaling matters here


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_and_plain_linear_layers_agree(dtype):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(70, 33, generator=generator).to(dtype)
    x = torch.randn(5, 33, generator=generator).to(dtype)
    plain, packed = PlainLinear(weight, None)(x), PackedLinear(weight, None)(x)
    assert (plain.float() - packed.float()).abs().max() < (1e-4 if dtype is torch.float32 else 0.3)


def test_auto_falls_back_where_packing_has_no_kernel_and_packed_says_why():
    assert choose("auto", torch.device("cpu"), torch.float64) is PLAIN
    assert choose("auto", torch.device("cpu"), torch.float32) is PACKED
    with pytest.raises(InputError, match="no packed product in torch.float64"):
        choose("packed", torch.device("cpu"), torch.float64)


def test_bfloat16_runs_close_to_float32():
    model = tiny("llama", dtype=torch.float32)
    exact, rough = _backend(model, torch.float32), _backend(model, torch.bfloat16)
    ids = list(range(7, 27))
    results = []
    for backend in (exact, rough):
        row = backend.open_row(20)
        results.append(backend.forward([Segment(row, 0, ids, range(20), None, [19])]).logits.float())
    assert torch.nn.functional.cosine_similarity(*results).item() > 0.99


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "gpt2"}, "model type 'gpt2'"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rotary scaling 'yarn'"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding attention window"),
        ({"quantization_config": {}}, "quantised"),
    ],
)
def test_models_of_another_shape_are_refused_with_the_reason(change, reason):
    config = {**tiny("llama").config.to_dict(), **change}
    assert reason in (LlamaBackend.supports(config) or "")
    with pytest.raises(InputError, match="engine.backend: auto"):
        LlamaBackend(config, {})


def test_a_row_that_cannot_be_had_is_a_run_error():
    backend = _backend(tiny("llama"))
    with pytest.raises(RunError, match="no memory for a cache row"):
        backend.open_row(10**13)


def test_writing_past_the_end_of_a_row_is_refused():
    backend = _backend(tiny("llama"))
    row = backend.open_row(4)
    with pytest.raises(ValueError, match="4 slots"):
        backend.forward([Segment(row, 2, [1, 2, 3], range(3), None, ())])
