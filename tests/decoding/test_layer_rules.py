"""Rules that compare the last layer with early ones, against their formulas on whole prompts."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.layering import region
from ragdecode.decoding.monitor import Rewind
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.dola import Dola, DolaSettings
from ragdecode.decoding.rules.dynamic_focus import DynamicFocus, DynamicFocusSettings
from ragdecode.decoding.rules.induced import Induced, InducedSettings
from ragdecode.decoding.rules.lol import Lol, LolSettings
from ragdecode.decoding.rules.plausible import Plausible, PlausibleSettings
from ragdecode.errors import InputError, SpecError
from ragdecode.spec.load import load_document
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt, request
from tests.decoding.test_commit import Scripted
from tests.decoding.tiny_models import tiny
from tests.reference import dola as dola_reference
from tests.reference import dynamic_focus as focus_reference
from tests.reference import lol as reference_lol
from tests.reference import naive
from tests.reference.early import PlainExit
from tests.reference.llama import PlainLlama

MODEL = tiny("llama", num_hidden_layers=6)
VIEWS = {"with_context": prompt(1, 29), "without_context": prompt(2, 8)}
TARGET = {"with_context": VIEWS["with_context"]}
MAIN = torch.log_softmax(torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64), -1)
OTHER = torch.log_softmax(torch.tensor([[0.5, 1.5, 0.0, -1.0]], dtype=torch.float64), -1)


def own() -> LlamaBackend:
    return LlamaBackend(MODEL.config.to_dict(), MODEL.state_dict(), dtype=torch.float64)


def dola(**settings) -> Dola:
    return Dola(DolaSettings(**settings))


def focus(**settings) -> DynamicFocus:
    return DynamicFocus(DynamicFocusSettings(**settings))


def plain(normed: bool, views=TARGET) -> dict:
    """The target, each early layer as a view named after its block, and other views."""
    target = views["with_context"]
    early = {str(layer): (PlainExit(MODEL, layer, normed=normed), target) for layer in range(5)}
    return {**{name: (PlainLlama(MODEL), ids) for name, ids in views.items()}, **early}


def noise_of(seed):
    return lambda position: gumbel(seed, "a", 0, [position], VOCAB, torch.device("cpu"))[0]


def same(result, tokens, log_probs):
    assert result.tokens == tokens
    wanted = log_probs[range(len(tokens)), tokens].tolist()
    assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)


class Given:
    """An early layer that predicts what it is told."""

    def __init__(self, log_probs):
        self.table, self.states = log_probs, torch.zeros(len(log_probs), 1)

    def log_probs(self, *, normed=True):
        return self.table

    def logits(self, columns, *, normed=True):
        return self.table.gather(-1, columns) + 3.0


def nodes(last, *layers) -> Nodes:
    return Nodes(last, {"with_context": last}, early={i: Given(table) for i, table in enumerate(layers)})


# ---- dola


def test_dola_gives_the_golden_values():
    got = torch.log_softmax(dola(layers=(0,)).compose(nodes(MAIN, OTHER)), -1).exp()
    assert got[0].tolist() == pytest.approx([0.736125, 0.099624, 0.164252, 0], abs=1e-6)


DOLA = [
    ({}, (2, 4), 0.1, True),
    ({"layers": "low"}, (1,), 0.1, True),
    ({"layers": (0, 3, 4), "ratio": 0.3}, (0, 3, 4), 0.3, True),
    ({"layers": (4, 1, 1), "ratio": 0.02, "norm": False}, (1, 4), 0.02, False),
]


@pytest.mark.parametrize(("settings", "layers", "ratio", "normed"), DOLA, ids=str)
def test_dola_equals_the_naive_reference_with_trees_too(settings, layers, ratio, normed):
    compose = dola_reference.dola([str(layer) for layer in layers], ratio)
    for temperature in (0.0, 0.7):
        sampling = Sampling(temperature=temperature, seed=5)
        tokens, log_probs = naive.greedy(
            plain(normed), compose, (), 12, temperature=temperature, noise=noise_of(5) if temperature else None
        )
        for drafters in ([], [TreeDrafter(tokens, 2)]):
            item = request(
                "a", TARGET, rules=[dola(**settings)], sampling=sampling, drafters=drafters, max_new_tokens=12
            )
            same(decode(Engine({"main": own()}, prefill_tokens=16), item)["a"], tokens, log_probs)


def test_dola_takes_each_nodes_own_layer():
    last, far = MAIN.expand(2, 4), torch.log_softmax(torch.tensor([[-3.0, 0.0, 2.0, 1.0]], dtype=torch.float64), -1)
    first, second = torch.cat([OTHER, far]), torch.cat([far, OTHER])
    got = dola(layers=(0, 1)).compose(Nodes(last, {"with_context": last}, early={0: Given(first), 1: Given(second)}))
    alone = torch.where(got.isneginf(), got, MAIN - far)
    assert torch.allclose(got, alone)
    assert not got[:, 0].isneginf().any()


def test_in_a_chain_dola_contrasts_what_the_rule_before_made():
    cad, layer = naive.cad(0.5), dola_reference.dola(["2", "4"], 0.1)

    def both(views):
        made = torch.log_softmax(cad(views), -1)
        distances = [dola_reference.jsd(views["with_context"].exp().tolist(), views[n].exp().tolist()) for n in "24"]
        early = views["24"[distances.index(max(distances))]]
        return torch.where(made >= made.max() + math.log(0.1), made - early, -torch.inf)

    assert layer is not None
    tokens, log_probs = naive.greedy(plain(True, VIEWS), both, (), 10)
    item = request("a", VIEWS, rules=[Cad(CadSettings(alpha=0.5)), dola()], drafters=[TreeDrafter(tokens, 1)],
                   max_new_tokens=10)  # fmt: skip
    same(decode(Engine({"main": own()}), item)["a"], tokens, log_probs)


def test_layers_that_say_the_same_leave_the_plausible_tokens_alike():
    got = dola(layers=(0,)).compose(nodes(MAIN, MAIN))
    assert got[0].tolist() == pytest.approx([0, 0, 0, -math.inf], abs=1e-12)
    sharp = torch.tensor([[0.0, -math.inf, -math.inf]], dtype=torch.float64)
    only = dola(layers=(0,)).compose(nodes(sharp, torch.log_softmax(torch.zeros(1, 3, dtype=torch.float64), -1)))
    assert only.isneginf()[0].tolist() == [False, True, True]


def test_dola_over_the_transformers_adapter():
    tokens, log_probs = naive.greedy(plain(True), dola_reference.dola(["2", "4"], 0.1), (), 8)
    item = request("a", TARGET, rules=[dola()], max_new_tokens=8)
    result = decode(Engine({"main": TransformersBackend(MODEL)}), item)["a"]
    assert result.tokens == tokens
    wanted = log_probs[range(8), tokens].tolist()
    assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-4)  # norms in float32 there


@pytest.mark.parametrize(
    ("name", "blocks", "expected"),
    [("low", 2, [0]), ("high", 2, [0]), ("low", 3, [0]), ("high", 3, [0]), ("low", 4, [1]), ("high", 4, [1]),
     ("low", 30, range(1, 14, 2)), ("high", 30, range(14, 30, 2)), ("low", 32, range(1, 15, 2)),
     ("high", 32, range(15, 31, 2)), ("low", 60, range(1, 19, 2)), ("high", 60, range(39, 59, 2)),
     ("all", 5, range(4)), ("all", 2, [0])],
)  # fmt: skip
def test_regions_are_those_of_transformers_less_the_embedding(name, blocks, expected):
    assert list(region(name, blocks)) == list(expected)
    assert all(0 <= layer < blocks - 1 for layer in region(name, blocks))


# ---- dynamic focus


def test_dynamic_focus_gives_the_golden_values():
    rule = focus(layers=(0,))
    assert float(rule._disagreement(nodes(MAIN, OTHER))) == pytest.approx(0.432260, abs=1e-6)
    assert focus_reference.disagreement(MAIN[0], [OTHER[0]], 0.1) == pytest.approx(0.432260, abs=1e-6)
    got = rule.compose(nodes(MAIN, OTHER))
    assert torch.allclose(got, MAIN / 1.020615, atol=1e-5)


FOCUS = [
    ({"temperature": 1.3, "sigma": 0.5, "norm": True}, range(5), True),
    ({"layers": (1, 3), "temperature": 2.0, "sigma": 0.8, "ratio": 0.02}, (1, 3), False),
    ({"layers": "low", "form": "linear", "sigma": -0.7}, (1,), False),
    ({"layers": "high", "form": "sigmoid", "sigma": 0.3, "temperature": 2.0}, (2, 4), False),
]


@pytest.mark.parametrize(("settings", "layers", "normed"), FOCUS, ids=str)
def test_dynamic_focus_equals_the_naive_reference_with_trees_too(settings, layers, normed):
    filled = DynamicFocusSettings(**settings)
    compose = focus_reference.dynamic_focus(
        [str(layer) for layer in layers], filled.temperature, filled.sigma, filled.ratio, filled.form
    )
    settings_of = {"temperature": 1.0, "top_p": 0.9}
    tokens, log_probs = naive.greedy(plain(normed), compose, (), 12, noise=noise_of(3), **settings_of)
    greedy, _ = naive.greedy(plain(normed), naive.plain(), (), 12, noise=noise_of(3), **settings_of)
    assert tokens != greedy
    for drafters in ([], [TreeDrafter(tokens, 2)]):
        item = request("a", TARGET, rules=[DynamicFocus(filled)], drafters=drafters, max_new_tokens=12,
                       sampling=Sampling(seed=3, **settings_of))  # fmt: skip
        result = decode(Engine({"main": own()}, prefill_tokens=16), item)["a"]
        same(result, tokens, log_probs)
        assert not result.notes


def test_dynamic_focus_cools_what_the_rules_before_made():
    compose = focus_reference.dynamic_focus([*map(str, range(5))], 1.1, 1.0, 0.1, of=naive.cad(0.5))
    settings = {"temperature": 1.0}
    tokens, log_probs = naive.greedy(plain(False, VIEWS), compose, (), 10, noise=noise_of(4), **settings)
    item = request("a", VIEWS, rules=[Cad(CadSettings(alpha=0.5)), focus(sigma=1.0)], max_new_tokens=10,
                   drafters=[TreeDrafter(tokens, 1)], sampling=Sampling(seed=4, **settings))  # fmt: skip
    same(decode(Engine({"main": own()}), item)["a"], tokens, log_probs)


def test_one_plausible_token_or_layers_that_agree_mean_the_base_temperature():
    sharp = torch.log_softmax(torch.tensor([[9.0, 0.0, 1.0]], dtype=torch.float64), -1)
    other = torch.log_softmax(torch.tensor([[0.0, 3.0, 1.0]], dtype=torch.float64), -1)
    assert torch.allclose(focus(layers=(0,)).compose(nodes(sharp, other)), sharp / 1.1)
    assert torch.allclose(focus(layers=(0,), ratio=0.001).compose(nodes(sharp, sharp)), sharp / 1.1)


@pytest.mark.parametrize("form", ["exponential", "sigmoid", "linear"])
def test_layers_that_are_hundreds_of_nats_apart_leave_a_distribution(form):
    """Early states without the final norm can be as far away; a temperature of 0 would leave no number."""
    last = torch.tensor([[0.0, -0.1, -3.0]]).log_softmax(-1)
    early = SimpleNamespace(logits=lambda columns, normed: torch.tensor([[-2000.0, 2000.0, 0.0]]).gather(-1, columns))
    rule = focus(layers=(0,), form=form, sigma=-4.0 if form == "linear" else 4.0)
    scores = rule.compose(Nodes(composed=last, log_probs={"with_context": last}, early={0: early}))
    found = scores.log_softmax(-1).exp()[0]
    assert found.argmax() == 0
    assert found.sum().item() == pytest.approx(1.0)


def test_at_temperature_0_it_changes_no_token_and_says_so():
    expected = decode(Engine({"main": own()}), request("a", TARGET, max_new_tokens=10))["a"]
    result = decode(Engine({"main": own()}), request("a", TARGET, rules=[focus()], max_new_tokens=10))["a"]
    assert result.tokens == expected.tokens
    assert any("dynamic_focus changed nothing" in note for note in result.notes)


def test_heads_wider_than_a_piece_are_gathered_in_pieces(monkeypatch):
    from ragdecode.decoding.rules import dynamic_focus

    whole = focus(layers=(0,), ratio=0.001).compose(nodes(MAIN, OTHER))
    monkeypatch.setattr(dynamic_focus, "_PIECE", 3)
    assert torch.allclose(focus(layers=(0,), ratio=0.001).compose(nodes(MAIN, OTHER)), whole)


def test_a_second_temperature_and_rules_after_it_are_refused():
    engine = Engine({"main": own()})
    with pytest.raises(InputError, match="'sampling.temperature: 0.7' would be a second one"):
        engine.submit(request("a", TARGET, rules=[focus()], sampling=Sampling(temperature=0.7)))
    with pytest.raises(InputError, match="'plausible' stands after it"):
        engine.submit(request("a", TARGET, rules=[focus(), Plausible(PlausibleSettings())]))


def test_a_monitor_may_not_set_a_second_temperature():
    """What a rewind overrides is checked as the request was."""

    def act(_session, token):
        return Rewind(2, overrides={"sampling.temperature": 0.5}) if token.position == 4 else None

    monitor = Scripted(act)
    item = request("a", TARGET, rules=[focus()], monitors=[monitor], sampling=Sampling(temperature=1.0))
    with pytest.raises(InputError, match="would be a second one"):
        decode(Engine({"main": own()}), item)


# ---- lol

DEEPER = tiny("llama", num_hidden_layers=9, seed=4)
WEAK, TRUTH = prompt(5, 33), prompt(6, 14)


def lol(**settings) -> Lol:
    return Lol(LolSettings(**{"view": "weak", **settings}))


def lol_views(weak="main") -> dict[str, View]:
    return {
        "with_context": View(VIEWS["with_context"]),
        "weak": View(WEAK, model=weak),
        "truth": View(TRUTH),
        "without_context": View(VIEWS["without_context"]),
    }


def lol_plain(layer=2, weak_layer=2, weak=MODEL) -> dict:
    target = VIEWS["with_context"]
    return {
        "with_context": (PlainLlama(MODEL), target), "low": (PlainExit(MODEL, layer), target),
        "weak": (PlainLlama(weak), WEAK), "weak_low": (PlainExit(weak, weak_layer), WEAK),
        "truth": (PlainLlama(MODEL), TRUTH),
    }  # fmt: skip


def both_models() -> Engine:
    deeper = LlamaBackend(DEEPER.config.to_dict(), DEEPER.state_dict(), dtype=torch.float64)
    return Engine({"main": own(), "second": deeper}, prefill_tokens=16)


@pytest.mark.parametrize(
    ("settings", "weak", "layers"),
    [({}, "main", (2, 2)), ({"layer": 4, "beta": 1.5, "low": 2.0, "ratio": 0.02}, "main", (4, 4)),
     ({}, "second", (2, 3)), ({"layer": 0, "refocus": "truth", "truth": 0.7}, "second", (0, 0))],
)  # fmt: skip
def test_lol_equals_the_naive_reference_with_trees_too(settings, weak, layers):
    filled = LolSettings(view="weak", **settings)
    compose = reference_lol.lol(filled.beta, filled.low, filled.ratio, filled.truth if filled.refocus else 0.0)
    plain_views = lol_plain(*layers, DEEPER if weak == "second" else MODEL)
    for temperature in (0.0, 0.7):
        sampling = Sampling(temperature=temperature, seed=5)
        tokens, log_probs = naive.greedy(
            plain_views, compose, (), 8, temperature=temperature, noise=noise_of(5) if temperature else None
        )
        for drafters in ([], [TreeDrafter(tokens, 2)]):
            item = Request("a", lol_views(weak), rules=[Lol(filled)], sampling=sampling, drafters=drafters,
                           max_new_tokens=8)  # fmt: skip
            same(decode(both_models(), item)["a"], tokens, log_probs)


def test_without_a_lower_layer_lol_is_induced():
    views = {name: lol_views()[name] for name in ("with_context", "weak")}
    rules = [lol(low=0, beta=1.2)], [Induced(InducedSettings(view="weak", beta=1.2))]
    first, second = (decode(both_models(), Request("a", views, rules=chain, max_new_tokens=10))["a"] for chain in rules)
    assert first.tokens == second.tokens


def test_lol_beside_others_is_what_it_is_alone():
    rules = [[lol()], [], [dola()], [lol(refocus="truth")], [Cad(CadSettings()), lol(layer=1)]]
    models = ["main", "main", "main", "second", "second"]
    requests = [
        Request(f"r{index}", lol_views(weak), rules=chained, max_new_tokens=4 + index,
                drafters=[TreeDrafter([4] * 9, index)] if index % 2 else [])
        for index, (chained, weak) in enumerate(zip(rules, models, strict=True))
    ]  # fmt: skip
    alone = {item.id: decode(both_models(), item)[item.id] for item in requests}
    together = decode(both_models(), *requests)
    for name, expected in alone.items():
        assert together[name].tokens == expected.tokens
        wanted = [record.logprob for record in expected.records]
        assert [record.logprob for record in together[name].records] == pytest.approx(wanted, abs=1e-9)


def test_a_weak_view_that_exits_early_and_layers_that_are_not_there_are_refused():
    views = {**lol_views(), "weak": View(VIEWS["with_context"], intervention=EarlyExit(1))}
    with pytest.raises(InputError, match="which is an early exit"):
        both_models().submit(Request("a", views, rules=[lol()]))
    with pytest.raises(InputError, match="'lol' reads block 5"):
        both_models().submit(Request("a", lol_views(), rules=[lol(layer=5)]))


# ---- all


def test_neighbours_and_arrival_change_nothing():
    cad = Cad(CadSettings(alpha=0.5))
    high, low, warm = dola(), dola(layers="low", norm=False), focus(sigma=1.0)
    rules = [[high], [], [cad, high], [low, warm], [warm], [high]]
    requests = []
    for index, chained in enumerate(rules):
        views = {"with_context": prompt(10 + index, 5 + 7 * index), "without_context": prompt(50 + index, 4 + index)}
        requests.append(request(
            f"r{index}", views, rules=chained, sampling=Sampling(temperature=float(index % 2), seed=index),
            drafters=[TreeDrafter([4] * 9, index)] if index % 2 else [], max_new_tokens=4 + 2 * index,
        ))  # fmt: skip
    alone = {item.id: decode(Engine({"main": own()}), item)[item.id] for item in requests}
    together = decode(Engine({"main": own()}, max_batch=4, prefill_tokens=24), *requests)
    late, engine, waiting = {}, Engine({"main": own()}, prefill_tokens=32), list(requests[::-1])
    while waiting or engine.busy:
        if waiting:
            engine.submit(waiting.pop())
        late |= {event.request: event.result for event in engine.step() if isinstance(event, DoneEvent)}
    for name, expected in alone.items():
        for found in (together[name], late[name]):
            assert found.tokens == expected.tokens
            wanted = [record.logprob for record in expected.records]
            assert [record.logprob for record in found.records] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("make", [dola, focus])
def test_layers_that_the_model_lacks_are_refused(make):
    engine = Engine({"main": own()})
    with pytest.raises(InputError, match=r"reads block 5; the model's early blocks are 0 to 4"):
        engine.submit(request("a", TARGET, rules=[make(layers=(1, 5))]))
    shallow = SimpleNamespace(blocks=1, interventions=frozenset({"exit"}))
    with pytest.raises(InputError, match="one block only"):
        make().meet({"with_context": shallow})
    blind = SimpleNamespace(blocks=4, interventions=frozenset(), lacks={"exit": "it is odd"})
    with pytest.raises(InputError, match="this backend does not tell: it is odd"):
        make().meet({"with_context": blind})


@pytest.mark.parametrize(
    ("make", "settings"),
    [(dola, {"layers": ()}), (dola, {"layers": "middle"}), (dola, {"layers": (-1,)}), (dola, {"ratio": 0}),
     (dola, {"ratio": 1.5}), (focus, {"temperature": 0}), (focus, {"sigma": 0}), (focus, {"sigma": -1}),
     (lol, {"beta": 0}), (lol, {"low": -1}), (lol, {"refocus": "with_context"}), (lol, {"layer": -1}),
     (lol, {"view": "with_context"}), (focus, {"form": "square"}), (focus, {"layers": (-1,)})],
)  # fmt: skip
def test_settings_out_of_range_are_refused(make, settings):
    with pytest.raises(ValidationError):
        make(**settings)


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["rule: {dola: {layers: middle}}"], 1, "decode.rule.dola.layers|rule.dola.layers"),
        (["sampling: {temperature: 0.7}", "rule: dynamic_focus"], 2, "would be a second one"),
        (["rule:", "  - dynamic_focus", "  - cad"], 2, "'cad' stands after it.*put it last"),
        (["rule: {dynamic_focus: {sigma: 0}}"], 1, "no meaning"),
    ],
)
def test_mistakes_in_yaml_are_told_with_their_line(tmp_path, lines, line, message):
    file = tmp_path / "r.yaml"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(SpecError, match=rf"r.yaml:{line}: .*({message})"):
        load_document("decoding", file)


@pytest.mark.parametrize("name", ["dola", "dynamic_focus", "lol"])
def test_the_recipes_load(name):
    spec = load_document("decoding", name).spec
    assert [part.name for part in spec.rule] == [name]
