"""The ensemble over passages against its formula on whole prompts, its weights, and rules inside it."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.errors import InputError
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.reference import naive
from tests.reference.acd import acd
from tests.reference.ensemble import by_rank, by_score, ensemble
from tests.reference.llama import PlainLlama
from tests.reference.plausible import masked

PROMPTS = {
    "with_context": prompt(1, 33),
    "passage_1": prompt(2, 17),
    "passage_2": prompt(3, 12),
    "passage_3": prompt(4, 21),
    "without_context": prompt(5, 6),
}
SCORES = {"passage_1": 7.5, "passage_2": 6.0, "passage_3": -1.5}
LOOKUP = PromptLookup(PromptLookupSettings())


def rule(**settings):
    info = registry.find("rule", "ensemble")
    return info.cls(info.settings.model_validate({"passages": 3, **settings}))


@cache
def engine() -> Engine:
    return Engine({"main": backend()}, prefill_tokens=48)


def request(name, made, scores=SCORES, views=None, **settings):
    names = views or ["with_context", *made.views]
    shown = {
        view: View(PROMPTS[view], evidence=(Evidence(1, 4, int(view[-1]) - 1, scores[view]),) if view in scores else ())
        for view in names
    }
    return Request(name, shown, rules=settings.pop("rules", [made]), **settings)


@cache
def expected(compose, steps, temperature=0.0, noise=None):
    plain = {view: (PlainLlama(model()), PROMPTS[view]) for view in PROMPTS}
    return naive.greedy(plain, compose, (), steps, temperature=temperature, noise=noise)


def relative(temperature=0.25, count=3):
    return by_score(list(SCORES.values())[:count], temperature, relative=True)


CASES = [
    ({}, ensemble(relative())),
    ({"temperature": 2}, ensemble(relative(2))),
    ({"scale": "raw"}, ensemble(by_score([7.5, 6, -1.5], 1, relative=False))),
    ({"scale": "raw", "temperature": 5}, ensemble(by_score([7.5, 6, -1.5], 5, relative=False))),
    ({"weights": "uniform"}, ensemble([1 / 3] * 3)),
    ({"weights": "rank"}, ensemble(by_rank(3))),
    ({"weights": "entropy"}, ensemble(1.0, 3)),
    ({"weights": "entropy", "temperature": 0.3}, ensemble(0.3, 3)),
    ({"mix": "product"}, ensemble(relative(), product=True)),
    ({"mix": "product", "weights": "entropy"}, ensemble(1.0, 3, product=True)),
    ({"whole": 0.4}, ensemble(relative(), whole=0.4)),
    ({"whole": 0.4, "mix": "product", "weights": "rank"}, ensemble(by_rank(3), product=True, whole=0.4)),
    ({"passages": 1}, ensemble([1.0])),
    ({"passages": 2}, ensemble(relative(count=2))),
    ({"of": {"cad": {"alpha": 0.7}}}, ensemble(relative(), inner=naive.cad(0.7))),
    (
        {"of": [{"cad": {"alpha": 3}}, {"plausible": {"ratio": 0.4}}]},
        ensemble(relative(), inner=masked(naive.cad(3), ["with_context"], 0.4)),
    ),
    ({"of": ["acd"], "whole": 0.3, "weights": "entropy"}, ensemble(1.0, 3, inner=acd(), whole=0.3)),
]
IDS = [str(settings) for settings, _ in CASES]


@pytest.mark.parametrize(("settings", "compose"), CASES, ids=IDS)
def test_tokens_and_log_probs_equal_the_naive_reference(settings, compose):
    made = rule(**settings)
    tokens, log_probs = expected(compose, 6)
    for drafters in ([], [TreeDrafter(tokens, 2), LOOKUP]):
        result = decode(engine(), request("a", made, drafters=drafters, max_new_tokens=6))["a"]
        assert result.tokens == tokens
        wanted = log_probs[range(6), tokens].tolist()
        assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)


def test_the_cases_are_not_all_the_same():
    answers = {tuple(expected(compose, 6)[0]) for _, compose in CASES}
    assert len(answers) > 5


@pytest.mark.parametrize("settings", [{}, {"weights": "entropy", "of": "cad"}])
def test_sampling_equals_the_naive_reference_under_the_same_noise(settings):
    compose = ensemble(1.0, 3, inner=naive.cad(0.5)) if settings else ensemble(relative())
    noise = lambda place: gumbel(3, "a", 0, [place], VOCAB, torch.device("cpu"))[0]  # noqa: E731
    tokens, _ = expected(compose, 6, temperature=0.8, noise=noise)
    item = request("a", rule(**settings), sampling=Sampling(temperature=0.8, seed=3), max_new_tokens=6)
    assert decode(engine(), item)["a"].tokens == tokens


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("settings", [{}, {"weights": "entropy", "of": "cad"}, {"mix": "product", "whole": 0.2}])
def test_no_draft_tree_changes_a_token(settings, temperature):
    made = rule(**settings)
    common = {"sampling": Sampling(temperature=temperature, seed=4), "max_new_tokens": 12, "end_tokens": {11}}
    plain = decode(engine(), request("a", made, **common))["a"]
    for nodes in (3, 24):
        drafters = [TreeDrafter([*plain.tokens, 11], 3, 11), LOOKUP, TreeDrafter([7] * 20, 3, 11)]
        drafted = decode(engine(), request("a", made, drafters=drafters, max_draft_nodes=nodes, **common))["a"]
        assert (drafted.tokens, drafted.finish_reason) == (plain.tokens, plain.finish_reason)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_arrival_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=1)
    shared, entropies = rule(), rule(weights="entropy")
    items = [
        request("r0", shared, sampling=sampling, max_new_tokens=7),
        request("r1", shared, {**SCORES, "passage_1": -20.0}, sampling=sampling, max_new_tokens=9),
        request("r2", shared, sampling=sampling, views=["with_context", "passage_1"], max_new_tokens=6),
        request("r3", entropies, sampling=sampling, drafters=[LOOKUP], max_new_tokens=8),
        request("r4", entropies, sampling=sampling, views=["with_context", "passage_1", "passage_2"], max_new_tokens=8),
        request("r5", rule(of="cad"), sampling=sampling, max_new_tokens=5),
        Request("r6", {"with_context": View(PROMPTS["with_context"])}, sampling=sampling, max_new_tokens=9),
    ]
    alone = {item.id: decode(engine(), item)[item.id].tokens for item in items}
    assert len({tuple(tokens) for tokens in alone.values()}) == len(items)
    late = Engine({"main": backend()}, prefill_tokens=32)
    results, waiting = {}, items[::-1]
    for step in range(200):
        if waiting and step % 2 == 0:
            late.submit(waiting.pop())
        results |= {event.request: event.result.tokens for event in late.step() if hasattr(event, "result")}
        if not waiting and not late.busy:
            break
    assert results == alone


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"weights": "rank"}, {"weights": "entropy"}, {"mix": "product"}], ids=str)
def test_a_request_with_fewer_passages_has_fewer_voters(settings, count):
    compose = {
        "{}": ensemble(relative(count=count)),
        "{'weights': 'rank'}": ensemble(by_rank(count)),
        "{'weights': 'entropy'}": ensemble(1.0, count),
        "{'mix': 'product'}": ensemble(relative(count=count), product=True),
    }[str(settings)]
    views = ["with_context", *list(SCORES)[:count]]
    tokens, _ = expected(compose, 5)
    result = decode(engine(), request("a", rule(**settings), views=views, max_new_tokens=5))["a"]
    assert result.tokens == tokens
    assert result.stats.forward_rows >= 5 * (1 + count)
    assert result.stats.forward_rows < 5 * (2 + count)


@pytest.mark.parametrize("scores", [dict.fromkeys(SCORES, 0.0), dict.fromkeys(SCORES, 3.25), {}, {"passage_1": 9.0}])
def test_without_scores_or_with_equal_ones_all_weigh_alike(scores):
    tokens, _ = expected(ensemble([1 / 3] * 3), 6)
    assert decode(engine(), request("a", rule(), scores, max_new_tokens=6))["a"].tokens == tokens


def weights_of(scores, **settings):
    """What three passages that are sure of a token each make of it."""
    made = rule(**settings)
    sure = torch.full((3, 1, 4), -math.inf, dtype=torch.float64)
    for place in range(3):
        sure[place, 0, place] = 0.0
    names = list(SCORES)
    table = {name: sure[place] for place, name in enumerate(names)}
    table["with_context"] = torch.tensor([[-math.inf, -math.inf, -math.inf, 0.0]], dtype=torch.float64)
    started = made.start(request("a", made, dict(zip(names, scores, strict=True))))
    composed = started.compose(Nodes(composed=table["with_context"], log_probs=table))
    return composed.exp()[0].tolist()


def test_relative_weights_depend_on_no_unit_and_raw_ones_do():
    for unit in (1e-3, 1.0, 40.0):
        assert weights_of([unit, unit / 2, 0.0]) == pytest.approx([*by_score([1, 0.5, 0], 0.25, relative=True), 0.0])
    assert weights_of([2.0, 1.0, 0.0], scale="raw")[0] == pytest.approx(0.665241, abs=1e-6)
    assert weights_of([20.0, 10.0, 0.0], scale="raw")[0] == pytest.approx(0.999955, abs=1e-6)


@pytest.mark.parametrize("scores", [[-1.0, -2.0, -4.0], [1e30, -1e30, 0.0], [1e-300, 0.0, 0.0], [0.0, 0.0, -5.0]])
def test_weights_sum_to_one_and_fall_with_the_score(scores):
    found = weights_of(scores)
    assert sum(found) == pytest.approx(1.0)
    assert [found[i] for i in sorted(range(3), key=lambda i: -scores[i])] == sorted(found[:3], reverse=True)


def test_the_target_votes_with_its_share_only():
    assert weights_of([1.0, 1.0, 1.0], whole=0.25) == pytest.approx([0.25, 0.25, 0.25, 0.25])
    assert weights_of([1.0, 1.0, 1.0])[3] == 0.0


def test_where_views_rule_each_other_out_a_product_keeps_the_least_bad():
    assert not any(math.isnan(x) for x in weights_of([1.0, 1.0, 1.0], mix="product"))
    left = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    right = torch.tensor([[0.0, 0.9, 0.1]], dtype=torch.float64).log()
    nodes = Nodes(composed=left, log_probs={"passage_1": left, "passage_2": right})
    found = rule(passages=2, mix="product", weights="uniform").compose(nodes).softmax(-1)
    assert found[0].tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_equal_views_make_the_view_itself_and_no_view_the_composed():
    table = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    for settings in ({}, {"weights": "entropy"}, {"mix": "product"}, {"whole": 0.5}, {"weights": "rank"}):
        nodes = Nodes(composed=table, log_probs=dict.fromkeys(["with_context", *SCORES], table))
        assert torch.allclose(rule(**settings).compose(nodes).log_softmax(-1), table)
    assert rule().compose(Nodes(composed=table, log_probs={"with_context": table})) is table


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [settings for settings, _ in CASES], ids=IDS)
def test_holes_in_distributions_make_no_number_undefined(settings, dtype):
    generator = torch.Generator().manual_seed(3)
    made = rule(**settings)
    for _ in range(10):
        tables = {}
        for view in ("with_context", *made.views):
            logits = torch.randn(5, 23, generator=generator, dtype=torch.float64) * 8
            holes = torch.rand(5, 23, generator=generator) < 0.4
            holes[:, 0] = False
            tables[view] = logits.masked_fill(holes, -math.inf).log_softmax(-1).to(dtype)
        found = made.compose(Nodes(composed=tables["with_context"], log_probs=tables)).log_softmax(-1)
        assert found.dtype is dtype
        assert not found.isnan().any()
        assert found.exp().sum(-1).tolist() == pytest.approx([1.0] * 5, abs=1e-4)


def test_a_rule_that_needs_more_than_log_probs_cannot_act_inside():
    for inner in ("lookback", "contrastive_search", "kl_to_evidence", {"ensemble": {}}):
        with pytest.raises(InputError, match="cannot act inside 'ensemble'"):
            rule(of=inner)
    with pytest.raises(InputError, match="'cad' and 'acd' cannot go together"):
        rule(of=["cad", "acd"])
    with pytest.raises(InputError, match="'cad' stands twice inside 'ensemble'"):
        rule(of=[{"cad": {"alpha": 1.0}}, "plausible", "cad"])


def test_another_rule_before_it_would_be_lost():
    made = rule()
    cad = registry.find("rule", "plausible").cls(registry.find("rule", "plausible").settings())
    with pytest.raises(InputError, match="begins from the views of the passages"):
        decode(engine(), request("a", made, rules=[cad, made]))
    assert decode(engine(), request("a", made, rules=[made, cad], max_new_tokens=4))["a"].tokens


def test_a_request_without_any_passage_view_is_refused():
    with pytest.raises(InputError, match="lacks the view 'passage_1'"):
        decode(engine(), request("a", rule(), views=["with_context"]))


@pytest.mark.parametrize(
    "settings",
    [{"passages": 0}, {"passages": 65}, {"temperature": 0}, {"whole": 1}, {"whole": -0.1}, {"weights": "score"},
     {"mix": "sum"}, {"of": "cat"}, {"of": [{"cad": {"alpha": 99}}]}, {"scale": "z"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        rule(**settings)
