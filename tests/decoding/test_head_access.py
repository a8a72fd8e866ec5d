"""Single heads switched off row by row, and their attention told, against a plain forward and stock eager attention."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import HeadMask
from ragdecode.decoding.request import Request, View
from ragdecode.decoding.rule import Rule
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import TreeDrafter, decode, prompt
from tests.decoding.stock import assert_close, chain
from tests.decoding.tiny_models import tiny
from tests.reference import naive
from tests.reference.heads import HeadsLlama

OFF = frozenset({(0, 1), (0, 3), (2, 0), (1, 2)})
FAMILIES = ["llama", "qwen2", "qwen3"]


@cache
def model(family: str = "llama"):
    return tiny(family, num_hidden_layers=3)


def own(family: str = "llama") -> LlamaBackend:
    return LlamaBackend(model(family).config.to_dict(), model(family).state_dict(), dtype=torch.float64)


def plain(how: str, first: int, family: str = "llama", off=OFF) -> HeadsLlama:
    return HeadsLlama(model(family), off, how, first)


def masked(segment: Segment, how: str, first: int) -> Segment:
    return replace(segment, mask=HeadMask(OFF, how), masked_from=max(0, first - segment.start))


def test_the_reference_is_the_stock_model_in_eager_attention():
    """Zero by a hook on the output projection's input; attention as the stock model tells it."""
    stock = tiny("llama", num_hidden_layers=3, attention="eager")
    ids, dim = prompt(1, 23), 8
    with torch.no_grad():
        out = stock(torch.tensor([ids]), output_attentions=True, use_cache=False)
    logits, attention = HeadsLlama(stock).run(ids)
    assert_close(logits, out.logits[0], 1e-5)
    for (layer, head), table in attention.items():
        assert_close(table, out.attentions[layer][0, head].double(), 1e-5)

    def zero(layer: int):
        def hook(_module, args):
            x = args[0].clone()
            for at, head in OFF:
                if at == layer:
                    x[:, 9:, head * dim : (head + 1) * dim] = 0.0
            return (x,)

        return hook

    for layer, block in enumerate(stock.model.layers):
        block.self_attn.o_proj.register_forward_pre_hook(zero(layer))
    with torch.no_grad():
        hooked = stock(torch.tensor([ids]), use_cache=False).logits[0]
    assert_close(plain("zero", 9).run(ids)[0], hooked, 1e-5)
    assert (hooked - logits).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["zero", "uniform"])
@pytest.mark.parametrize("first", [0, 7, 30])
def test_heads_are_off_from_a_token_on(family, how, first):
    backend, ids = own(family), prompt(2, 31)
    row = backend.open_row(40)
    got = backend.forward([masked(chain(row, 0, ids, list(range(31))), how, first)]).logits
    expected = plain(how, first, family).run(ids)[0]
    assert_close(got, expected, 1e-9)
    whole = plain(how, 31, family).run(ids)[0]
    assert (got[first:] - whole[first:]).abs().max() > 0.1


@cache
def long_logits(how: str):
    return plain(how, 100).run(prompt(3, 150))[0]


@pytest.mark.parametrize("how", ["zero", "uniform"])
@pytest.mark.parametrize("sizes", [[150], [70, 80], [63, 64, 1, 22], [1] * 4 + [146], [140, 10]])
def test_chunks_of_any_size_are_masked_alike(how, sizes):
    """Below 64 tokens, above, above 128 (block by block), and one by one; only some outputs are wanted."""
    backend, ids, first = own(), prompt(3, 150), 100
    row = backend.open_row(150)
    got, places, base = [], [], 0
    for size in sizes:
        wanted = sorted({0, size // 2, size - 1})
        segment = chain(row, base, ids[base : base + size], wanted)
        got.append(backend.forward([masked(segment, how, first)]).logits)
        places += [base + index for index in wanted]
        base += size
    assert_close(torch.cat(got), long_logits(how)[places], 1e-9)


def test_rows_of_one_batch_have_each_their_own_heads():
    backend = own()
    lengths = [5, 70, 1, 20, 64]
    masks = [None, HeadMask(OFF, "zero"), HeadMask(frozenset({(1, 0)}), "uniform"), HeadMask(OFF, "uniform"), None]
    firsts = [0, 50, 0, 0, 0]
    texts = [prompt(20 + i, n) for i, n in enumerate(lengths)]
    segments = []
    for ids, mask, first in zip(texts, masks, firsts, strict=True):
        segment = chain(backend.open_row(80), 0, ids)
        segments.append(replace(segment, mask=mask, masked_from=first))
    together = backend.forward(segments).logits
    for got, ids, mask, first in zip(together, texts, masks, firsts, strict=True):
        reference = HeadsLlama(model()) if mask is None else HeadsLlama(model(), mask.heads, mask.how, first)
        assert_close(got, reference.run(ids)[0][-1], 1e-9)


def tree(rng: random.Random, root: int, size: int) -> tuple[list[int], list[int], list[int]]:
    tokens, parents, depths = [root], [-1], [0]
    for _ in range(size - 1):
        parent = rng.randrange(len(tokens))
        tokens.append(rng.randrange(97))
        parents.append(parent)
        depths.append(depths[parent] + 1)
    return tokens, parents, depths


def path(tokens: list[int], parents: list[int], node: int) -> list[int]:
    found = []
    while node >= 0:
        found.append(node)
        node = parents[node]
    return found[::-1]


@pytest.mark.parametrize("how", ["zero", "uniform"])
@pytest.mark.parametrize("size", [2, 9, 70])
def test_trees_are_masked_along_each_path(how, size):
    backend, ids = own(), prompt(4, 17)
    row = backend.open_row(100)
    backend.forward([masked(chain(row, 0, ids[:-1], []), how, 16)])
    tokens, parents, depths = tree(random.Random(size), ids[-1], size)
    segment = Segment(row, 16, tokens, depths, parents, range(size))
    got = backend.forward([masked(segment, how, 16)]).logits
    for node in random.Random(1).sample(range(size), min(size, 8)):
        way = [tokens[one] for one in path(tokens, parents, node)]
        assert_close(got[node], plain(how, 16).run([*ids[:-1], *way])[0][-1], 1e-9)


HEADS = ((2, 3), (0, 0), (1, 2), (1, 1))


@cache
def long_attention(family: str):
    return HeadsLlama(model(family)).run(prompt(5, 150))[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sizes", [[31], [150], [64, 20], [1] * 5, [130, 1, 3], [63, 64]])
def test_attention_of_chains_and_chunks(family, sizes):
    backend, total = own(family), sum(sizes)
    ids = prompt(5, total)
    row, base = backend.open_row(total), 0
    attention = long_attention(family)  # of a longer text that begins alike: nobody looks ahead
    for size in sizes:
        wanted = sorted({0, size // 3, size - 1})
        out = backend.forward([replace(chain(row, base, ids[base : base + size], wanted), watch=HEADS)])
        (got,) = out.attention
        places = [base + index for index in wanted]
        base += size
        assert got.shape == (len(wanted), len(HEADS), base)
        for column, head in enumerate(HEADS):
            assert_close(got[:, column], attention[head][places, :base], 1e-9)


@pytest.mark.parametrize("size", [3, 12, 80])
def test_attention_of_trees(size):
    backend, ids = own(), prompt(6, 19)
    row = backend.open_row(120)
    backend.forward([chain(row, 0, ids[:-1], [])])
    tokens, parents, depths = tree(random.Random(size), ids[-1], size)
    got = backend.forward([replace(Segment(row, 18, tokens, depths, parents, range(size)), watch=HEADS)]).attention[0]
    for node in random.Random(2).sample(range(size), min(size, 6)):
        way = path(tokens, parents, node)
        attention = HeadsLlama(model()).run([*ids[:-1], *(tokens[one] for one in way)])[1]
        seen = [*range(18), *(18 + one for one in way)]
        expected = torch.zeros(len(HEADS), 18 + size, dtype=torch.float64)
        for column, head in enumerate(HEADS):
            expected[column, seen] = attention[head][-1]
        assert_close(got[node], expected, 1e-9)


def test_attention_is_the_same_alone_and_in_a_batch_and_whatever_is_masked():
    backend = own()
    texts = [prompt(30 + i, n) for i, n in enumerate([12, 90, 33])]
    mask = HeadMask(OFF, "uniform")
    watches = [HEADS, (), HEADS[:1]]
    segments = [
        replace(chain(backend.open_row(100), 0, ids), watch=watch, mask=mask if watch == HEADS[:1] else None)
        for ids, watch in zip(texts, watches, strict=True)
    ]
    together = backend.forward(segments).attention
    assert together[1] is None
    alone = own()
    for at in (0, 2):
        segment = replace(segments[at], row=alone.open_row(100))
        assert_close(alone.forward([segment]).attention[0], together[at], 1e-12)
    assert backend.forward([chain(backend.open_row(20), 0, texts[0])]).attention in ([], ())


class _Only(Rule):
    """Takes one view as it is."""

    part_name = "only"

    def __init__(self, view: str, attends=()) -> None:
        super().__init__(NoSettings())
        self.view, self.attends, self.told = view, attends, {}

    @property
    def views(self):
        return (self.view,) if self.view != "with_context" else ()

    def compose(self, nodes):
        for node, table in enumerate(nodes.attention):
            self.told[tuple(nodes.path(node))] = table
        return nodes.log_probs[self.view]


TEXT = prompt(7, 41)


def view_request(name: str, mask: HeadMask | None, **settings) -> Request:
    views = {"with_context": View(TEXT), "off": View(TEXT, intervention=mask)}
    return Request(name, views, rules=[_Only("off")], max_new_tokens=14, **settings)


@pytest.mark.parametrize("how", ["zero", "uniform"])
@pytest.mark.parametrize("prompt_too", [False, True])
@pytest.mark.parametrize("prefill", [16, 512])
def test_a_view_without_heads_decodes_as_the_reference(how, prompt_too, prefill):
    """The prompt but for its last token is read whole, or all of it is read without the heads."""
    first = 0 if prompt_too else len(TEXT) - 1
    expected, log_probs = naive.greedy({"off": (plain(how, first), TEXT)}, naive.plain("off"), (), 14)
    whole, _ = naive.greedy({"off": (HeadsLlama(model()), TEXT)}, naive.plain("off"), (), 14)
    assert expected != whole
    mask = HeadMask(OFF, how, prompt_too)
    for drafters in ([], [TreeDrafter(expected, 3)]):
        engine = Engine({"main": own()}, prefill_tokens=prefill)
        result = decode(engine, view_request("a", mask, drafters=drafters))["a"]
        assert result.tokens == expected
        assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(14), expected].tolist(), abs=1e-9)


def test_rows_share_what_they_read_alike_and_nothing_else():
    zero, whole = HeadMask(OFF), HeadMask(OFF, prompt=True)
    passes = {}
    for name, mask in (("zero", zero), ("whole", whole), ("none", None)):
        engine = Engine({"main": own()}, prefill_tokens=16, prefix_bytes=1 << 24)
        first = decode(engine, view_request("a", mask))["a"]
        again = decode(engine, view_request("b", mask))["b"]
        assert again.tokens == first.tokens
        passes[name] = (first.stats.reused_tokens, again.stats.reused_tokens)
    length = len(TEXT) - 1
    # the second row takes over what the first has read, all but the last token; later requests find both
    assert passes["none"][1] == passes["zero"][1] == 2 * length
    assert passes["none"][0] == passes["zero"][0]
    assert passes["whole"] == (0, length)


def test_what_masked_rows_have_read_is_never_given_to_others():
    """A masked answer goes on as the next request's prompt: only what both read alike is shared."""
    mask = HeadMask(OFF, "zero")
    engine = Engine({"main": own()}, prefix_bytes=1 << 24)
    answer = decode(engine, view_request("a", mask))["a"].tokens
    longer = [*TEXT, *answer, 5, 9]
    for name, change in (("plain", None), ("off", mask), ("all", replace(mask, prompt=True))):
        item = Request(
            name,
            {"with_context": View(longer), "off": View(longer, intervention=change)},
            rules=[_Only("off")],
            max_new_tokens=6,
        )
        fresh = decode(Engine({"main": own()}, prefix_bytes=0), item)[name]
        kept = decode(engine, item)[name]
        assert kept.tokens == fresh.tokens
        assert [r.logprob for r in kept.records] == pytest.approx([r.logprob for r in fresh.records], abs=1e-9)


def test_masked_and_plain_requests_in_one_batch_with_late_arrivals_are_as_alone():
    masks = [HeadMask(OFF, "uniform"), None, HeadMask(OFF, "zero", True), HeadMask(frozenset({(2, 2)}))]
    items = [view_request(f"r{i}", mask) for i, mask in enumerate(masks)]
    alone = {item.id: decode(Engine({"main": own()}), item)[item.id].tokens for item in items}
    engine, late = Engine({"main": own()}, prefill_tokens=24, max_batch=3), {}
    waiting = list(items)
    for step in range(200):
        if waiting and step % 2 == 0:
            engine.submit(waiting.pop())
        late |= {event.request: event.result.tokens for event in engine.step() if hasattr(event, "result")}
        if not waiting and not engine.busy:
            break
    assert late == alone


@pytest.mark.parametrize("nodes", [1, 12, 70])
def test_rules_see_the_attention_of_every_node_over_the_prompt(nodes):
    text, heads = TEXT, ((1, 3), (0, 2))
    attention = HeadsLlama(model())
    rule = _Only("with_context", heads)
    expected = decode(Engine({"main": own()}), Request("p", {"with_context": View(text)}, max_new_tokens=10))["p"]
    item = Request(
        "a",
        {"with_context": View(text)},
        rules=[rule],
        max_new_tokens=10,
        max_draft_nodes=nodes,
        drafters=[TreeDrafter(expected.tokens, 5)],
    )
    result = decode(Engine({"main": own()}, prefill_tokens=16), item)["a"]
    assert result.tokens == expected.tokens
    assert len(rule.told) >= 10
    for way in random.Random(3).sample(sorted(rule.told), min(8, len(rule.told))):
        tables = attention.run([*text, *way])[1]
        assert_close(rule.told[way], torch.stack([tables[head][-1, : len(text)] for head in heads]), 1e-9)


def test_what_a_model_does_not_have_or_a_backend_cannot_do_is_refused():
    for heads in ({(3, 0)}, {(0, 4)}):
        with pytest.raises(InputError, match="the model has 3 layers of 4 heads"):
            decode(Engine({"main": own()}), view_request("a", HeadMask(frozenset(heads))))
    with pytest.raises(InputError, match="switch heads off, which this backend cannot do"):
        decode(Engine({"main": TransformersBackend(model())}), view_request("a", HeadMask(OFF)))
