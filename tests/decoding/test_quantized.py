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
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Look
from ragdecode.decoding.drafters.quantized import Quantized, QuantizedSettings
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Retrieve, Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.transfer import Transfer, TransferSettings
from ragdecode.decoding.speculation.composing import composed_views
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt, request
from tests.decoding.test_commit import Scripted
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


CAD = Cad(CadSettings(alpha=0.5))
TRANSFER = Transfer(TransferSettings.model_validate({"from": "rag", "eta": 5.0}))


def test_under_a_rule_it_drafts_what_the_rule_composes():
    """The target alone is a poor guide to a strong contrast; what both views make of it is a good one."""
    more = {"rules": [Cad(CadSettings(alpha=2.0))], "max_new_tokens": 40}

    class TargetOnly(Quantized):
        def looks_at(self, request):
            return self.views

        def start(self, request):
            return super().start(Request("alone", request.views, max_new_tokens=request.max_new_tokens))

    stats = {}
    for kind in (Quantized, TargetOnly):
        part = kind(QuantizedSettings(gain=0.0))
        stats[kind] = decode(Engine({"main": own()}), request("a", VIEWS, drafters=[part], **more))["a"].stats
    assert stats[Quantized].accepted / stats[Quantized].drafted > 0.7
    assert stats[TargetOnly].accepted / stats[TargetOnly].drafted < 0.4
    assert stats[Quantized].steps < stats[TargetOnly].steps / 2


def test_a_level_is_one_pass_over_all_views_and_costs_what_is_counted():
    backend = own()
    forward, light = backend.forward, []

    def counting(segments, **options):
        if options.get("light"):
            light.append([len(segment.tokens) for segment in segments])
        return forward(segments, **options)

    backend.forward = counting
    item = request("a", VIEWS, rules=[CAD], drafters=[drafter(depth=3)], max_new_tokens=12)
    stats = decode(Engine({"main": backend}), item)["a"].stats
    assert light
    assert all(counts == [1, 1] for counts in light)  # both rows, and only what is new
    assert stats.forward_passes == stats.steps + len(light)
    assert stats.forward_rows == 2 * stats.forward_passes


class Observing(Drafter):
    """Looks at what the rules compose along a chain, some of it at once; keeps every answer."""

    part_name = "observing"
    look_nodes = 6
    views = ("with_context",)

    def __init__(self, light: bool) -> None:
        super().__init__(NoSettings())
        self.light = light
        self.seen: list[tuple[list[int], Look, torch.Tensor]] = []

    def looks_at(self, request):
        return composed_views(request)

    def start(self, request):
        return _ObservingSession(self)


class _ObservingSession(DraftSession):
    def __init__(self, parent) -> None:
        self.parent, self.answer = parent, []

    def propose(self, nodes):
        return self._looks() if self.answer else Draft()

    def _looks(self):
        trees = [([], []), ([5], [-1]), ([5, 6, 9], [-1, 0, -1]), ([5, 6, 9, 11], [-1, 0, -1, 2])]
        for wanted, (tokens, parents) in zip([None, [1], [3, 0], [4]], trees, strict=True):
            draft = Draft(tokens, parents, [1.0] * len(tokens))
            look = Look("with_context", draft, light=self.parent.light, composed=True, wanted=wanted)
            self.parent.seen.append((list(self.answer), look, (yield look)))
        return Draft()

    def observe(self, verified):
        self.answer += verified.committed

    def rewind(self, length):
        del self.answer[length:]


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("beside", [[], [ViewDrafter(ViewDrafterSettings(name="without_context", gain=0.0))]])
def test_what_a_look_at_the_composed_distribution_tells(light, beside):
    """Against whole prompts run afresh and the formula of the paper; also where another drafter looks in between."""
    part = Observing(light)
    item = request("a", VIEWS, rules=[CAD], drafters=[part, *beside], max_new_tokens=5)
    decode(Engine({"main": own()}), item)
    assert len(part.seen) >= 8
    for answer, look, table in part.seen:
        found = {}
        for view, ids in VIEWS.items():
            paths = [[]]
            for token, parent in zip(look.draft.tokens, look.draft.parents, strict=True):
                paths.append([*paths[parent + 1], token])
            fresh = own()
            rows = []
            for path in paths:
                text = [*ids, *answer]
                row = fresh.open_row(len(text) + 8)
                fresh.forward([Segment(row, 0, text[:-1], range(len(text) - 1), None, ())])
                last = [text[-1], *path]
                segment = Segment(row, len(text) - 1, last, range(len(last)), None, [len(path)])
                rows.append(fresh.forward([segment], light=light).logits[0].log_softmax(-1))
            found[view] = torch.stack(rows)
        expected = (1.5 * found["with_context"] - 0.5 * found["without_context"]).log_softmax(-1)
        expected = expected if look.wanted is None else expected[look.wanted]
        assert table.shape == expected.shape
        # products in bfloat16 depend on how many rows they have
        assert (table - expected).abs().max() <= (0.2 if light else 1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_composed_drafts_beside_other_drafters_in_a_batch_with_rewinds_and_new_prompts(temperature):
    how = {"sampling": Sampling(temperature=temperature, seed=3, repetition_penalty=1.1), "max_new_tokens": 20}

    def act(session, token):
        if token.position == 9 and not session.rewinds:
            return Rewind(4, {})
        return Retrieve("more", to=11) if token.position == 14 and len(session.rewinds) == 1 else None

    def asked(name, seed, rules, parts):
        prompts = {"with_context": prompt(seed, 20), "without_context": prompt(9, 7), "rag": prompt(seed, 9)}
        return request(
            name,
            prompts,
            rules=rules,
            drafters=parts,
            monitors=[Scripted(act)],
            retrieve=lambda query: {"without_context": View(prompt(41, 6))},
            **how,
        )

    kinds = [("a", 1, [CAD]), ("b", 2, [TRANSFER]), ("c", 3, []), ("d", 4, [CAD])]
    plain = {item[0]: decode(Engine({"main": own()}), asked(*item, []))[item[0]].tokens for item in kinds}
    beside = ViewDrafter(ViewDrafterSettings(name="without_context", gain=0.0, depth=2))
    mixed = [drafter(depth=4, width=2, branch=2), beside, TreeDrafter(plain["a"], 3)]
    items = [asked(*item, mixed) for item in kinds]
    together = decode(Engine({"main": own()}, prefill_tokens=16), *items)
    assert {name: result.tokens for name, result in together.items()} == plain
    assert all(result.stats.sources["quantized"]["accepted"] for result in together.values())


class Needy(Rule):
    part_name = "needy"
    views = ("rag",)

    def __init__(self, **needs) -> None:
        super().__init__(NoSettings())
        for name, value in needs.items():
            setattr(self, name, value)

    def compose(self, nodes):
        return nodes.composed


def test_rules_that_looks_do_not_suffice_for_are_drafted_by_the_target_alone():
    def views_of(rules, **other):
        views = {"with_context": View([1, 5]), "rag": View([4]), "without_context": View([3]), **other}
        return composed_views(Request("a", views, rules=rules))

    assert views_of([]) == ()
    assert views_of([Needy()]) == ("with_context", "rag")
    assert views_of([TRANSFER, CAD]) == ("with_context", "rag", "without_context")
    for needs in ({"hidden": True}, {"expand": 3}, {"verification": "rejection"}):
        assert views_of([CAD, Needy(**needs)]) == ()
    assert views_of([Needy()], rag=View([4], model="other")) == ()
    assert views_of([CAD], rag=View([4], model="other")) == ("with_context", "without_context")
    more = {"rules": [Needy(hidden=True)], "max_new_tokens": 16}
    views = {**VIEWS, "rag": prompt(3, 5)}
    plain = decode(Engine({"main": own()}), request("a", views, **more))["a"]
    drafted = decode(Engine({"main": own()}), request("a", views, drafters=[drafter()], **more))["a"]
    assert drafted.tokens == plain.tokens
    assert drafted.stats.accepted > 5
