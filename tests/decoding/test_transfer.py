"""RAPID's knowledge transfer against its formula on whole prompts, and what its modes and settings mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.transfer import Transfer, TransferSettings
from ragdecode.errors import InputError
from tests.decoding.engines import TreeDrafter, backend, decode, model, prompt, request
from tests.decoding.test_rejection import PROMPTS, Drawing, engine
from tests.decoding.test_rejection import VOCAB as SMALL
from tests.decoding.test_rejection import stock as small
from tests.reference import naive
from tests.reference.llama import PlainLlama

VIEWS = {"with_context": prompt(1, 61), "rag": prompt(2, 13), "without_context": prompt(3, 7)}
PLAIN = {name: (PlainLlama(model()), ids) for name, ids in VIEWS.items()}
LOOKUP = PromptLookup(PromptLookupSettings())


def transfer(**settings) -> Transfer:
    return Transfer(TransferSettings.model_validate({"from": "rag", **settings}))


def rapid(eta: float, t: float = 1.0, tail: float = 0.0, of: str | None = None):
    """Algorithm 1 of the paper, token by token in plain numbers, as a distribution over one position."""

    def compose(log_probs):
        z = log_probs["with_context"] if of is None else of(log_probs)
        p = [float(x) for x in torch.softmax(z / t, -1)]
        q = [float(x) for x in torch.softmax(log_probs["rag"] / t, -1)]
        moved = [
            float(z[k]) + (eta * t * (q[k] - p[k]) if q[k] >= tail * max(q) else 0.0)
            for k in range(len(p))
        ]  # fmt: skip
        return torch.tensor(moved, dtype=torch.float64)

    return compose


@pytest.mark.parametrize(
    ("eta", "t", "tail", "temperature"),
    [(10.0, 1.0, 0.1, 0.0), (20.0, 0.5, 0.0, 0.0), (5.0, 2.0, 0.3, 0.8)],
)
def test_tokens_and_log_probs_equal_the_naive_reference(eta, t, tail, temperature):
    from ragdecode.decoding.noise import gumbel

    def noise(position):
        return gumbel(3, "a", 0, [position], 97, torch.device("cpu"))[0]

    views = {name: PLAIN[name] for name in ("with_context", "rag")}
    settings = {"temperature": temperature, "noise": noise if temperature else None}
    tokens, log_probs = naive.greedy(views, rapid(eta, t, tail), (), 18, **settings)
    plain, _ = naive.greedy(views, naive.plain(), (), 18, **settings)
    assert tokens != plain
    for drafters in ([], [TreeDrafter(tokens, 2), LOOKUP]):
        result = decode(
            Engine({"main": backend()}),
            request(
                "a",
                {name: VIEWS[name] for name in views},
                rules=[transfer(eta=eta, temperature=t, tail=tail)],
                sampling=Sampling(temperature=temperature, seed=3),
                drafters=drafters,
                max_new_tokens=18,
            ),
        )["a"]
        assert result.tokens == tokens
        assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(18), tokens].tolist(), abs=1e-9)


def test_in_a_chain_it_moves_what_the_rule_before_made():
    cad = naive.cad(0.5)
    after, _ = naive.greedy(PLAIN, rapid(10, of=lambda views: torch.log_softmax(cad(views), -1)), (), 14)

    def before(views):
        return cad({**views, "with_context": torch.log_softmax(rapid(10)(views), -1)})

    first, _ = naive.greedy(PLAIN, before, (), 14)
    rules = [Cad(CadSettings(alpha=0.5)), transfer(tail=0)]
    for chain, expected in ((rules, after), (rules[::-1], first)):
        item = request("a", VIEWS, rules=chain, drafters=[TreeDrafter(expected, 1)], max_new_tokens=14)
        assert decode(Engine({"main": backend()}), item)["a"].tokens == expected


@pytest.mark.parametrize("settings", [{"eta": 0}, {"mode": "exact-p"}, {"mode": "exact-p", "eta": 20}])
def test_without_strength_and_in_exact_p_it_is_the_target(settings):
    rule = transfer(**settings)
    views = {"with_context": VIEWS["with_context"], "rag": VIEWS["rag"]}
    plain = decode(Engine({"main": backend()}), request("a", views, max_new_tokens=16))["a"]
    moved = decode(Engine({"main": backend()}), request("a", views, rules=[rule], max_new_tokens=16))["a"]
    assert moved.tokens == plain.tokens
    assert moved.stats.forward_rows == (16 if rule.settings.mode == "exact-p" else 32)


@pytest.mark.parametrize("t", [0.5, 1.0, 2.0])
def test_the_shift_is_a_step_against_the_gradient_of_the_distillation_loss(t):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(4, 31, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(4, 31, dtype=torch.float64, generator=generator)
    q = torch.softmax(teacher / t, -1)
    loss = t**2 * (q * (q.log() - torch.log_softmax(z / t, -1))).sum()
    (gradient,) = torch.autograd.grad(loss, z)
    composed = torch.log_softmax(z.detach(), -1)
    nodes = Nodes(composed=composed, log_probs={"with_context": composed, "rag": torch.log_softmax(teacher, -1)})
    moved = transfer(eta=1e-3, temperature=t, tail=0).compose(nodes)
    assert torch.allclose((moved - composed) / 1e-3, -gradient, atol=1e-9)
    # and it lowers the loss
    after = t**2 * (q * (q.log() - torch.log_softmax(moved / t, -1))).sum()
    assert float(after) < loss.item()


def test_the_tail_of_the_teacher_moves_nothing_and_the_impossible_stays_so():
    q = torch.tensor([[0.6, 0.3, 0.07, 0.03]], dtype=torch.float64)
    p = torch.tensor([[0.1, 0.2, 0.7, 0.0]], dtype=torch.float64)
    nodes = Nodes(composed=p.log(), log_probs={"with_context": p.log(), "rag": q.log()})
    moved = transfer(eta=4, tail=0.2).compose(nodes)
    expected = [p[0, 0].log() + 4 * 0.5, p[0, 1].log() + 4 * 0.1, p[0, 2].log(), -torch.inf]
    assert moved[0].tolist() == pytest.approx([float(x) for x in expected])


def test_the_published_test_follows_its_formula_and_not_the_moved_distribution():
    """The first of two tokens, drafted: min(q, p') + rejected x norm(max(p - p', p - q, 0)); the last is p's own."""
    rule, drafter = transfer(mode="paper", eta=8.0), Drawing((1,))
    views = {**PROMPTS, "rag": [4, 6, 3]}
    from ragdecode.decoding.request import Request, View

    runs = 600
    settings = {"rules": [rule], "drafters": [drafter], "verification": "rejection", "max_new_tokens": 2}
    results = decode(
        engine(),
        *(
            Request(
                f"s{run}",
                {name: View(ids) for name, ids in views.items()},
                sampling=Sampling(temperature=0.8),
                **settings,
            )
            for run in range(runs)
        ),
    )
    counts = torch.zeros(SMALL, dtype=torch.float64)
    for result in results.values():
        counts[result.tokens[0]] += 1
    log_probs = {name: naive.next_log_probs(small(), views[name]) for name in ("with_context", "rag")}
    p = torch.softmax(log_probs["with_context"] / 0.8, -1)
    moved = torch.softmax(rapid(8.0, tail=0.1)(log_probs) / 0.8, -1)
    q = drafter.table[views["with_context"][-1]].exp()
    kept = torch.minimum(q, moved)
    residual = torch.stack([p - moved, p - q, torch.zeros_like(p)]).amax(dim=0)
    expected = kept + (1 - kept.sum()) * residual / residual.sum()

    def misfit(ideal):
        square = float(((counts - ideal * runs) ** 2 / (ideal * runs)).sum())
        return (square - (SMALL - 1)) / (2 * (SMALL - 1)) ** 0.5

    assert misfit(expected) < 4
    assert min(misfit(p), misfit(moved)) > 8


def test_the_published_test_wants_draws_and_no_other_rule():
    rule = transfer(mode="paper")
    views = {name: VIEWS[name] for name in ("with_context", "rag", "without_context")}
    with pytest.raises(InputError, match="accepts drafts by a test of draws"):
        decode(Engine({"main": backend()}), request("a", views, rules=[rule]))
    chain = request("a", views, rules=[rule, Cad(CadSettings())], verification="rejection")
    with pytest.raises(InputError, match="which no rule may change"):
        decode(Engine({"main": backend()}), chain)


def test_the_published_test_judges_chains_only():
    item = request(
        "a",
        {"with_context": [3, 4, 5], "rag": [4, 5]},
        rules=[transfer(mode="paper")],
        drafters=[Drawing((2,))],
        verification="rejection",
        sampling=Sampling(temperature=1.0),
    )
    with pytest.raises(InputError, match="several tokens a node"):
        decode(engine(), item)
    wide = replace(item, drafters=[ViewDrafter(ViewDrafterSettings(name="rag"))])
    with pytest.raises(InputError, match="the drafter view draws several tokens a node"):
        engine().submit(wide)  # before anything runs
    engine().submit(replace(wide, drafters=[ViewDrafter(ViewDrafterSettings(name="rag", branch=1))]))


def test_without_temperature_the_published_test_is_greedy_decoding_of_the_target():
    views = {name: VIEWS[name] for name in ("with_context", "rag")}
    plain = decode(Engine({"main": backend()}), request("a", views, max_new_tokens=12))["a"]
    item = request("a", views, rules=[transfer(mode="paper")], verification="rejection", max_new_tokens=12)
    assert decode(Engine({"main": backend()}), item)["a"].tokens == plain.tokens


def test_a_monitor_may_change_its_strength():
    from ragdecode.decoding.overrides import apply_overrides

    item = request("a", VIEWS, rules=[transfer()])
    (rule,), _ = apply_overrides(item.rules, Sampling(), {"transfer.eta": 3.0})
    assert (rule.settings.eta, rule.views) == (3.0, ("rag",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"from": "with_context"}, "nothing to learn"), ({"eta": -1}, "greater"), ({"temperature": 0}, "greater"),
     ({"tail": 2}, "less"), ({"mode": "exact"}, "exact-p-hat")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        transfer(**settings)
