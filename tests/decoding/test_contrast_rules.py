"""Rules over log-probabilities of several views, each against its formula on whole prompts."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.reference import naive
from tests.reference.acd import acd
from tests.reference.adacad import adacad
from tests.reference.coiecd import coiecd
from tests.reference.contrast import contrast
from tests.reference.llama import PlainLlama
from tests.reference.own_views import induced, instructive, leading_query
from tests.reference.plausible import masked

PROMPTS = {
    "with_context": prompt(1, 31),
    "without_context": prompt(2, 8),
    "amateur": prompt(3, 12),
    "strong": prompt(4, 9),
    "noisy_instruction": prompt(5, 11),
    "induced": prompt(6, 13),
    "leading_query": prompt(7, 10),
}
#: views on a second model
SECOND = {"amateur", "induced"}
LOOKUP = PromptLookup(PromptLookupSettings())


def rule(name, settings=None):
    info = registry.find("rule", name)
    return info.cls(info.settings.model_validate(settings or {}))


#: rule, settings, the same by formula
SINGLE = [
    ("acd", {}, acd()),
    ("acd", {"against": "strong"}, acd(against="strong")),
    ("adacad", {}, adacad()),
    ("adacad", {"offset": 0.3}, adacad(offset=0.3)),
    ("adacad", {"floor": 0.5}, adacad(floor=0.5)),
    ("coiecd", {}, coiecd()),
    ("coiecd", {"alpha": 0.4, "ratio": 0.5}, coiecd(0.4, 0.5)),
    ("coiecd", {"alpha": 2.5, "ratio": 0.05}, coiecd(2.5, 0.05)),
    ("contrast", {"amateur": "amateur"}, contrast("obrien", 0.5)),
    (
        "contrast",
        {"amateur": "amateur", "strength": 2, "temperature": 0.5, "ratio": 0},
        contrast("obrien", 2, ratio=0, tau=0.5),
    ),
    ("contrast", {"amateur": "amateur", "form": "li", "ratio": 0.02}, contrast("li", 1, ratio=0.02)),
    ("contrast", {"amateur": "amateur", "form": "li", "strength": 0.8, "temperature": 2}, contrast("li", 0.8, tau=2)),
    ("contrast", {"amateur": "amateur", "expert": "strong"}, contrast("obrien", 0.5, expert="strong")),
    ("instructive", {}, instructive(0.3)),
    ("instructive", {"epsilon": 0.8, "rescale": True}, instructive(0.8, rescale=True)),
    ("instructive", {"view": "strong"}, instructive(0.3, noisy="strong")),
    ("induced", {}, induced(1, 0.1)),
    ("induced", {"beta": 2.5, "ratio": 0.01}, induced(2.5, 0.01)),
    ("leading_query", {}, leading_query(1, 0.1)),
    ("leading_query", {"alpha": 0.5, "ratio": 0, "neutral": "strong"}, leading_query(0.5, 0, neutral="strong")),
    ("plausible", {"ratio": 0.3}, masked(naive.plain(), ["with_context"], 0.3)),
]
IDS = [f"{name}-{settings}" for name, settings, _ in SINGLE]


def chained(*steps):
    """One rule after another, each on what the one before made, under the target's name."""

    def compose(log_probs):
        scores = log_probs["with_context"]
        for step in steps:
            scores = step({**log_probs, "with_context": torch.log_softmax(scores, -1)})
        return scores

    return compose


def on_plausible(first, views, ratio):
    """What ``first`` makes, masked by the raw views."""
    return masked(first, views, ratio)


BOTH = ["with_context", "without_context"]
CHAINS = [
    ([("acd", {}), ("plausible", {"of": "union", "ratio": 0.2})], on_plausible(acd(), BOTH, 0.2)),
    ([("cad", {"alpha": 2}), ("plausible", {})], on_plausible(naive.cad(2), ["with_context"], 0.1)),
    ([("contrast", {"amateur": "amateur"}), ("cad", {})], chained(contrast("obrien", 0.5), naive.cad(0.5))),
    ([("cad", {}), ("contrast", {"amateur": "amateur"})], chained(naive.cad(0.5), contrast("obrien", 0.5))),
    ([("instructive", {}), ("acd", {})], chained(instructive(0.3), acd())),
    ([("adacad", {}), ("leading_query", {}), ("induced", {"beta": 3})],
     chained(adacad(), leading_query(1, 0.1), induced(3, 0.1))),
]  # fmt: skip
CHAIN_IDS = ["+".join(name for name, _ in chain) for chain, _ in CHAINS]


@cache
def engine() -> Engine:
    return Engine({"main": backend(), "second": backend(seed=9)}, prefill_tokens=48)


def request(name, rules, **settings):
    names = {"with_context", *(view for one in rules for view in one.views)}
    names |= {view for one in settings.get("drafters", ()) for view in one.views}
    views = {
        view: View(PROMPTS[view], "second" if view in SECOND else "main") for view in PROMPTS if view in names
    }  # fmt: skip
    return Request(name, views, rules=rules, **settings)


def expected(rules, compose, steps, **settings):
    names = {"with_context", *(view for one in rules for view in one.views)}
    plain = {view: (PlainLlama(model(seed=9 if view in SECOND else 0)), PROMPTS[view]) for view in names}
    return naive.greedy(plain, compose, (), steps, **settings)


def compare(rules, compose, steps=10, sampling=None):
    sampling = sampling or Sampling()
    settings = {}
    if sampling.temperature:
        settings["noise"] = lambda place: gumbel(sampling.seed, "a", 0, [place], VOCAB, torch.device("cpu"))[0]
        settings["temperature"] = sampling.temperature
    tokens, log_probs = expected(rules, compose, steps, **settings)
    for drafters in ([], [TreeDrafter(tokens, 2), LOOKUP]):
        result = decode(
            engine(), request("a", rules, max_new_tokens=steps, sampling=sampling, drafters=drafters)
        )["a"]  # fmt: skip
        assert result.tokens == tokens
        wanted = log_probs[range(steps), tokens].tolist()
        assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)
    return tokens


@pytest.mark.parametrize(("name", "settings", "compose"), SINGLE, ids=IDS)
def test_tokens_and_log_probs_equal_the_naive_reference(name, settings, compose):
    compare([rule(name, settings)], compose)


@pytest.mark.parametrize(("name", "settings", "compose"), [SINGLE[i] for i in (0, 2, 6, 8, 13, 16, 18)])
def test_sampling_equals_the_naive_reference_under_the_same_noise(name, settings, compose):
    compare([rule(name, settings)], compose, sampling=Sampling(temperature=0.8, seed=3))


@pytest.mark.parametrize(("chain", "compose"), CHAINS, ids=CHAIN_IDS)
def test_chains_equal_the_formulas_one_after_the_other(chain, compose):
    compare([rule(*step) for step in chain], compose)


@pytest.mark.parametrize("name", ["acd", "adacad", "coiecd"])
def test_evidence_rules_over_the_transformers_adapter(name):
    compose = {"acd": acd(), "adacad": adacad(), "coiecd": coiecd()}[name]
    plain = {view: (model(), PROMPTS[view]) for view in BOTH}
    tokens, log_probs = naive.greedy(plain, compose, (), 12)
    item = request("a", [rule(name)], drafters=[TreeDrafter(tokens, 1)], max_new_tokens=12)
    result = decode(Engine({"main": TransformersBackend(model())}), item)["a"]
    assert result.tokens == tokens
    wanted = log_probs[range(12), tokens].tolist()
    assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize(("name", "settings"), [one[:2] for one in SINGLE[::2]], ids=IDS[::2])
def test_no_draft_tree_changes_a_token(name, settings, temperature):
    rules = [rule(name, settings)]
    common = {"sampling": Sampling(temperature=temperature, seed=4), "max_new_tokens": 20, "end_tokens": {11}}
    plain = decode(engine(), request("a", rules, **common))["a"]
    for nodes in (3, 24):
        drafters = [TreeDrafter([*plain.tokens, 11], 3, 11), LOOKUP, TreeDrafter([7] * 20, 3, 11)]
        drafted = decode(engine(), request("a", rules, drafters=drafters, max_draft_nodes=nodes, **common))["a"]
        assert (drafted.tokens, drafted.finish_reason) == (plain.tokens, plain.finish_reason)
        logprobs = [record.logprob for record in plain.records]
        assert [record.logprob for record in drafted.records] == pytest.approx(logprobs, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_amateur_may_draft_for_its_own_contrast(temperature):
    rules = [rule("contrast", {"amateur": "amateur"})]
    common = {"sampling": Sampling(temperature=temperature, seed=2), "max_new_tokens": 20}
    plain = decode(engine(), request("a", rules, **common))["a"]
    drafter = ViewDrafter(ViewDrafterSettings(name="amateur", gain=0.0))
    drafted = decode(engine(), request("a", rules, drafters=[drafter], **common))["a"]
    assert drafted.tokens == plain.tokens
    assert drafted.stats.drafted > 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_arrival_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=1)
    shared = [rule("acd")]
    chains = [shared, shared, [rule("cad")], [], *([rule(*one[:2])] for one in SINGLE[2::3])]
    items = [
        request(f"r{i}", rules, sampling=sampling, max_new_tokens=5 + i % 4, drafters=[LOOKUP] if i % 3 else ())
        for i, rules in enumerate(chains)
    ]
    alone = {item.id: decode(engine(), item)[item.id] for item in items}
    late = Engine({"main": backend(), "second": backend(seed=9)}, prefill_tokens=32)
    results, waiting = {}, items[::-1]
    for step in range(200):
        if waiting and step % 2 == 0:
            late.submit(waiting.pop())
        results |= {event.request: event.result for event in late.step() if hasattr(event, "result")}
        if not waiting and not late.busy:
            break
    for name, wanted in alone.items():
        assert results[name].tokens == wanted.tokens
        assert [r.logprob for r in results[name].records] == pytest.approx([r.logprob for r in wanted.records])


# What a rule makes of one node, without an engine.

MAIN, OTHER = [2.0, 1, 0, -1], [0.5, 1.5, 0, -1]


def composed(name, settings=None, main=MAIN, other=OTHER, **views):
    made = rule(name, settings)
    tables = {view: torch.tensor([views.get(view, other)], dtype=torch.float64).log_softmax(-1) for view in made.views}
    tables["with_context"] = torch.tensor([main], dtype=torch.float64).log_softmax(-1)
    return made.compose(Nodes(composed=tables["with_context"], log_probs=tables)).log_softmax(-1)[0]


@pytest.mark.parametrize(
    ("name", "settings", "wanted"),
    [
        ("cad", {"alpha": 0.5}, [0.817808, 0.110678, 0.052281, 0.019233]),
        ("cad", {"alpha": 1}, [0.916512, 0.045630, 0.027676, 0.010182]),
        ("acd", {}, [0.430499, 0.407572, 0.118380, 0.043550]),
        ("adacad", {}, [0.683898, 0.206807, 0.079901, 0.029394]),
        ("adacad", {"floor": 1}, [0.916512, 0.045630, 0.027676, 0.010182]),
        ("adacad", {"offset": 1, "floor": 0.3}, [0.928864, 0.038013, 0.024214, 0.008908]),
        ("contrast", {"amateur": "a", "form": "li"}, [0.736125, 0.099624, 0.164252, 0]),
        ("contrast", {"amateur": "a"}, [0.833845, 0.112849, 0.053306, 0]),
        ("instructive", {}, [0.663196, 0.180742, 0.104279, 0.051783]),
        ("induced", {}, [0.736125, 0.099624, 0.164252, 0]),
        ("leading_query", {"alpha": 0.5}, [0.833845, 0.112849, 0.053306, 0]),
        ("leading_query", {"alpha": 0.5, "ratio": 0}, [0.817808, 0.110678, 0.052281, 0.019233]),
        # no token is within the bounds .128 to .161: all start from the evidence, which is cad at 1
        ("coiecd", {}, [0.916512, 0.045630, 0.027676, 0.010182]),
        # bounds .064 to .322: the best token is alone above them and counts as within, the last one is below
        ("coiecd", {"alpha": 0, "ratio": 0.5}, [0.219880, 0.597695, 0.133364, 0.049062]),
        ("plausible", {"ratio": 0.3}, [0.731059, 0.268941, 0, 0]),
        ("plausible", {"ratio": 0.9, "of": "union"}, [0.731059, 0.268941, 0, 0]),
    ],
)
def test_golden_values(name, settings, wanted):
    # COIECD with alpha 0: tokens within have z, the last one z_c, which is the same number apart from normalisation
    if (name, settings.get("alpha")) == ("coiecd", 0):
        p, q = torch.tensor(MAIN).double().softmax(-1), torch.tensor(OTHER).double().softmax(-1)
        mixed = torch.tensor([q[0], q[1], q[2], p[3]])
        wanted = (mixed / mixed.sum()).tolist()
    assert composed(name, settings).exp().tolist() == pytest.approx(wanted, abs=1e-6)


def test_acd_weighs_by_how_sure_each_view_is():
    sure, unsure = [9.0, 0, 0, 0], [0.1, 0, 0, 0]
    assert composed("acd", main=sure, other=unsure)[0].exp() > 0.99
    # an unsure view with evidence leaves what is believed
    assert composed("acd", main=[0.0, 0.1, 0, 0], other=sure).argmax() == 0
    # never beyond the evidence: between the two views at every pair of tokens
    mixed = composed("acd")
    for i in range(4):
        for j in range(4):
            ends = sorted([MAIN[i] - MAIN[j], OTHER[i] - OTHER[j]])
            assert ends[0] - 1e-9 <= float(mixed[i] - mixed[j]) <= ends[1] + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_acd_follows_the_evidence_where_both_views_are_certain(dtype):
    opened = torch.tensor([[0.0, -200, -300]], dtype=dtype)
    closed = torch.tensor([[-200, 0.0, -math.inf]], dtype=dtype)
    nodes = Nodes(composed=opened, log_probs={"with_context": opened, "without_context": closed})
    assert rule("acd").compose(nodes)[0].tolist() == pytest.approx([0.0, -200, -300])


ALL = ["cad", "acd", "adacad", "coiecd", "contrast", "instructive", "induced", "leading_query", "plausible"]


def settings_of(name):
    return {"contrast": {"amateur": "a"}, "instructive": {"rescale": True}, "plausible": {"of": "union"}}.get(name, {})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_impossible_becomes_possible_and_nothing_is_not_a_number(name, dtype):
    generator = torch.Generator().manual_seed(3)
    for seed in range(20):
        logits = torch.randn(6, 31, generator=generator, dtype=torch.float64).to(dtype) * (1 + 3 * seed)
        other = torch.randn(6, 31, generator=generator, dtype=torch.float64).to(dtype) * (1 + 3 * seed)
        holes = torch.rand(2, 6, 31, generator=generator) < 0.3
        holes[:, :, 0] = False
        main = logits.masked_fill(holes[0], -math.inf).log_softmax(-1)
        weak = other.masked_fill(holes[1], -math.inf).log_softmax(-1)
        made = rule(name, settings_of(name))
        views = dict.fromkeys(made.views, weak) | {"with_context": main}
        before = [table.clone() for table in (main, weak)]
        result = made.compose(Nodes(composed=main, log_probs=views)).log_softmax(-1)
        assert result.dtype is dtype
        assert not result.isnan().any()
        assert not (result.exp()[holes[0]] > 0).any()
        assert result.exp().sum(-1).tolist() == pytest.approx([1] * 6, abs=1e-5)
        assert torch.equal(before[0], main)  # other rules read the same tables
        assert torch.equal(before[1], weak)


@pytest.mark.parametrize("name", ALL)
def test_a_node_is_composed_alike_with_and_without_others(name):
    generator = torch.Generator().manual_seed(5)
    main = (torch.randn(9, 40, generator=generator, dtype=torch.float64) * 3).log_softmax(-1)
    weak = (torch.randn(9, 40, generator=generator, dtype=torch.float64) * 3).log_softmax(-1)
    made = rule(name, settings_of(name))

    def of(rows):
        views = dict.fromkeys(made.views, weak[rows]) | {"with_context": main[rows]}
        return made.compose(Nodes(composed=main[rows], log_probs=views))

    whole = of(slice(0, 9))
    for node in range(9):
        assert torch.equal(of(slice(node, node + 1))[0], whole[node])


@pytest.mark.parametrize(
    ("name", "settings"),
    [("cad", {"alpha": 3}), ("acd", {}), ("adacad", {"offset": 1}), ("coiecd", {}), ("coiecd", {"ratio": 1}),
     ("contrast", {"amateur": "a", "ratio": 0, "strength": 4}), ("instructive", {"rescale": True}),
     ("leading_query", {"ratio": 0}), ("plausible", {"ratio": 1e-9})],
)  # fmt: skip
def test_equal_views_leave_the_model_as_it_is(name, settings):
    plain = torch.tensor(MAIN, dtype=torch.float64).log_softmax(-1)
    assert composed(name, settings, other=MAIN).tolist() == pytest.approx(plain.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("cad", {"alpha": 0}), ("contrast", {"amateur": "a", "strength": 0, "ratio": 0}),
     ("contrast", {"amateur": "a", "form": "li", "strength": 0, "ratio": 1e-6}), ("instructive", {"epsilon": 0}),
     ("leading_query", {"alpha": 0, "ratio": 0})],
)  # fmt: skip
def test_without_strength_they_are_plain_decoding(name, settings):
    plain = torch.tensor(MAIN, dtype=torch.float64).log_softmax(-1)
    assert composed(name, settings).tolist() == pytest.approx(plain.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("contrast", {"amateur": "a", "form": "li"}), ("contrast", {"amateur": "a"}), ("induced", {}),
     ("leading_query", {}), ("plausible", {})],
)  # fmt: skip
def test_a_single_plausible_token_wins_whatever_the_weak_view_says(name, settings):
    made = composed(name, settings, main=[0.0, 9, 1, 2], other=[0.0, 40, 1, 2])
    assert made.exp().tolist() == pytest.approx([0, 1, 0, 0])


def test_ties_at_the_threshold_stay_in():
    even = composed("plausible", {"ratio": 1}, main=[1.0, 1, 0, 1])
    assert even.exp().tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


def test_masks_that_leave_nothing_of_the_composed_distribution_leave_it_alone():
    """A rule before kept tokens that the other expert finds implausible: no token would be left."""
    chain = [rule("plausible", {"ratio": 0.9}), rule("contrast", {"amateur": "a", "expert": "e", "ratio": 0.9})]
    views = {"with_context": [5.0, 0, 0], "a": [0.0, 0, 1], "e": [0.0, 5, 0]}
    tables = {name: torch.tensor([z]).double().log_softmax(-1) for name, z in views.items()}
    once = chain[0].compose(Nodes(composed=tables["with_context"], log_probs=tables)).log_softmax(-1)
    twice = chain[1].compose(Nodes(composed=once, log_probs=tables)).log_softmax(-1)
    assert twice.exp().tolist()[0] == pytest.approx([1, 0, 0])


def test_the_amateurs_temperature_is_the_same_inside_and_outside_of_the_softmax():
    inside = torch.tensor([OTHER]).double().div(0.4).log_softmax(-1)
    outside = composed("contrast", {"amateur": "a", "temperature": 0.4})
    other = composed("contrast", {"amateur": "a"}, other=inside[0].tolist())
    assert outside.tolist() == pytest.approx(other.tolist(), abs=1e-12)


def test_a_monitor_may_change_their_strength_but_not_their_views():
    from ragdecode.decoding.overrides import apply_overrides
    from ragdecode.errors import InputError

    item = request("a", [rule("contrast", {"amateur": "amateur"}), rule("instructive")])
    rules, _ = apply_overrides(item.rules, Sampling(), {"contrast.strength": 2.0, "instructive.epsilon": 0.1})
    assert (rules[0].settings.strength, rules[1].settings.epsilon) == (2.0, 0.1)
    with pytest.raises(InputError, match="which rows"):
        apply_overrides(item.rules, Sampling(), {"contrast.amateur": "strong"})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("acd", {"against": "with_context"}, "divided by itself"),
        ("acd", {"alpha": 1}, "Extra inputs"),
        ("adacad", {"offset": -1}, "greater"),
        ("adacad", {"floor": 11}, "less"),
        ("coiecd", {"ratio": 0}, "greater"),
        ("coiecd", {"alpha": -0.1}, "greater"),
        ("contrast", {}, "amateur"),
        ("contrast", {"amateur": "with_context"}, "is the expert itself"),
        ("contrast", {"amateur": "a", "expert": "a"}, "is the expert itself"),
        ("contrast", {"amateur": "a", "form": "li", "ratio": 0}, "set a ratio"),
        ("contrast", {"amateur": "a", "form": "lee"}, "obrien"),
        ("contrast", {"amateur": "a", "temperature": 0}, "greater"),
        ("instructive", {"epsilon": 1}, "less"),
        ("instructive", {"view": "with_context"}, "nothing is left"),
        ("instructive", {"view": "v", "prompt": {"messages": [{"role": "user", "content": "x"}]}}, "decode.views.v"),
        ("induced", {"ratio": 0}, "greater"),
        ("induced", {"beta": 0}, "greater"),
        ("leading_query", {"neutral": "v", "view": "v"}, "both neutral and leading"),
        ("plausible", {"ratio": 0}, "greater"),
        ("plausible", {"ratio": 1.1}, "less"),
        ("plausible", {"of": "without_context"}, "union"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        rule(name, settings)


def test_monitors_are_told_how_noisy_the_evidence_looks_and_how_far_it_conflicts():
    from ragdecode.decoding.monitors.signals import Signals, SignalsSettings
    from tests.reference.acd import weight
    from tests.reference.adacad import divergence

    plain = {view: PlainLlama(model()) for view in BOTH}
    for name in ("acd", "adacad"):
        items = [
            request("watched", [rule(name), rule("plausible")], monitors=[Signals(SignalsSettings())],
                    max_new_tokens=6, drafters=[LOOKUP]),
            request("plain", [rule(name)], max_new_tokens=6),
        ]  # fmt: skip
        results = decode(engine(), *items)
        tokens = results["watched"].tokens
        records = results["watched"].monitors["signals"]["tokens"]
        assert len(records) == 6
        for place, record in enumerate(records):
            views = {view: naive.next_log_probs(plain[view], [*PROMPTS[view], *tokens[:place]]) for view in BOTH}
            opened, closed = views["with_context"], views["without_context"]
            if name == "acd":
                assert record["rules"] == {"acd.noise": pytest.approx(1 - weight(opened, closed), abs=1e-6)}
            else:
                far = divergence(opened.exp().tolist(), closed.exp().tolist())
                assert record["rules"] == {"adacad.conflict": pytest.approx(far, abs=1e-6)}


def test_rules_are_asked_what_they_tell_only_where_a_monitor_wants_it(monkeypatch):
    from ragdecode.decoding.rules.acd import Acd

    monkeypatch.setattr(Acd, "signals", lambda _self, _nodes: pytest.fail("nobody asked"))
    assert len(decode(engine(), request("a", [rule("acd")], max_new_tokens=3))["a"].tokens) == 3


@pytest.mark.parametrize(
    ("name", "settings"),
    [("contrast", {"amateur": "amateur", "expert": "strong"}), ("leading_query", {"neutral": "strong"})],
)
def test_a_rule_that_begins_from_a_view_of_its_own_is_the_first_of_its_chain(name, settings):
    from ragdecode.errors import InputError

    late = [rule("instructive"), rule(name, settings)]
    with pytest.raises(InputError, match=f"'{name}' begins from the view 'strong': what 'instructive' makes"):
        decode(engine(), request("a", late))
    assert decode(engine(), request("a", late[::-1], max_new_tokens=3))["a"].tokens
    with pytest.raises(InputError, match=f"'{name}' begins from the view 'strong': what 'ensemble' makes"):
        rule("ensemble", {"of": {name: settings}})


def test_contrasts_of_what_is_composed_may_act_on_every_passage_of_an_ensemble():
    inner = [{"contrast": {"amateur": "amateur"}}, {"plausible": {"ratio": 0.5}}]
    made = rule("ensemble", {"of": inner, "weights": "uniform", "passages": 1})
    tables = {"with_context": MAIN, "passage_1": OTHER, "amateur": [1.0, 0, 0, 2]}
    tables = {view: torch.tensor([z]).double().log_softmax(-1) for view, z in tables.items()}
    mixed = made.compose(Nodes(composed=tables["with_context"], log_probs=tables)).log_softmax(-1)
    wanted = masked(contrast("obrien", 0.5), ["with_context"], 0.5)(
        {"with_context": tables["passage_1"][0], "amateur": tables["amateur"][0]}
    )
    assert mixed[0].exp().tolist() == pytest.approx(wanted.softmax(-1).tolist())
