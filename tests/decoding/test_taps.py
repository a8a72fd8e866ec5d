"""Vectors of the last block, as memories keep them, against hooks on stock models."""

from __future__ import annotations

import copy

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, View
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.speculation.composing import composed_by_looks
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import TreeDrafter, decode, prompt
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


class TapReader(Rule):
    """Notes the vectors that it is told, of nodes and of the prompt; composes nothing."""

    part_name = "tap_reader"
    taps = ("ffn_input", "final")
    views = ()

    def __init__(self, spans=()):
        super().__init__(NoSettings())
        self.spans = list(spans)
        self.started: list[TapReader] = []

    def start(self, request):
        begun = copy.copy(self)
        begun.nodes, begun.places = [], []
        self.started.append(begun)
        return begun

    def reads(self, request):
        return {"with_context": self.spans}

    def read_taps(self, view, place, taps):
        self.places += [(place + i, {name: taps[name][i] for name in taps}) for i in range(len(taps["final"]))]

    def compose(self, nodes):
        for node in range(len(nodes.composed)):
            self.nodes.append((nodes.path(node), {name: value[node] for name, value in nodes.taps.items()}))
        return nodes.composed


@pytest.mark.parametrize("budget", [7, 512])
@pytest.mark.parametrize("general", [False, True])
def test_rules_are_told_of_nodes_and_of_prompts(budget, general):
    model = tiny("llama")
    made = TransformersBackend(model) if general else own(model)
    tolerance = 1e-9 if general else OWN_TOLERANCE
    engine = Engine({"main": made}, prefill_tokens=budget)
    rules = [TapReader([range(3, 9), range(15, 30)]), TapReader()]
    prompts = [prompt(11, 21), prompt(12, 33)]
    requests = [
        Request(
            f"r{at}",
            {"with_context": View(ids)},
            rules=[rule],
            drafters=[TreeDrafter(prompt(5, 9), at)],
            max_new_tokens=9,
        )
        for at, (rule, ids) in enumerate(zip(rules, prompts, strict=True))
    ]
    decode(engine, *requests, Request("plain", {"with_context": View(prompt(13, 8))}, max_new_tokens=5))
    for rule, ids in zip(rules, prompts, strict=True):
        [begun] = rule.started
        expected = [place for span in rule.spans for place in span if place < len(ids) - 1]
        assert [place for place, _ in begun.places] == expected
        told = stock_taps(model, "llama", ids)
        for place, taps in begun.places:
            assert set(taps) == {"ffn_input", "final"}
            for name, value in taps.items():
                assert_close(value, told[name][place], tolerance)
        assert len({tuple(path) for path, _ in begun.nodes}) > 9  # drafted nodes too
        for path, taps in begun.nodes:
            assert set(taps) == {"ffn_input", "final"}
            seen = stock_taps(model, "llama", [*ids, *path])
            for name, value in taps.items():
                assert_close(value, seen[name][-1], tolerance)


def test_what_rules_are_told_does_not_come_with_a_look():
    assert not composed_by_looks([TapReader()], lambda view: True)
