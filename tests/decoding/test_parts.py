"""The built-in rule, constraints and monitor."""

from __future__ import annotations

import math

import pytest
import torch

from ragdecode.decoding.constraints.ban import Ban, BanSettings
from ragdecode.decoding.constraints.require import Require, RequireSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import ActionEvent
from ragdecode.decoding.monitors.signals import Signals, SignalsSettings
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.errors import InputError
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt, request
from tests.reference import naive

VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
CAD = [Cad(CadSettings(alpha=0.5))]


def spell(text):
    """A tokenizer of one token a character; a leading space is a token of its own."""
    return [3 + ord(character) % 90 for character in text]


def run(**settings):
    settings = {"rules": CAD, "max_new_tokens": 20, "tokenize": spell, **settings}
    return decode(Engine({"main": backend()}), request("a", VIEWS, **settings))["a"]


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.5, [0.817808, 0.110678, 0.052281, 0.019233]), (1.0, [0.916512, 0.045630, 0.027676, 0.010182])],
)
def test_cad_golden_values(alpha, expected):
    main = torch.tensor([[2.0, 1, 0, -1]], dtype=torch.float64).log_softmax(-1)
    other = torch.tensor([[0.5, 1.5, 0, -1]], dtype=torch.float64).log_softmax(-1)
    scores = Cad(CadSettings(alpha=alpha)).compose(Nodes(main, {"with_context": main, "without_context": other}))
    assert torch.softmax(scores, -1)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_cad_survives_tokens_that_one_or_both_views_exclude():
    inf = float("-inf")
    main = torch.tensor([[0.0, inf, -1.0, inf]])
    other = torch.tensor([[inf, 0.0, -1.0, inf]])
    scores = Cad(CadSettings(alpha=1.0)).compose(Nodes(main, {"without_context": other}))
    assert not scores.isnan().any()
    assert torch.isneginf(scores[0, [1, 3]]).all()


def test_cad_can_divide_out_any_declared_view():
    rule = Cad(CadSettings(alpha=1.0, against="distorted"))
    assert list(rule.views) == ["distorted"]
    views = {"with_context": VIEWS["with_context"], "distorted": prompt(5, 12)}
    got = decode(Engine({"main": backend()}), request("a", views, rules=[rule], max_new_tokens=12))["a"]
    stock = {name: (model(), ids) for name, ids in views.items()}
    expected, _ = naive.greedy(stock, naive.cad(1.0, against="distorted"), (), 12)
    assert got.tokens == expected


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0)])
def test_banned_tokens_and_phrases_never_appear_and_drafts_do_not_matter(sampling):
    free = run(sampling=sampling).tokens
    ban = Ban(BanSettings(tokens=(free[0], free[4])))
    plain = run(constraints=[ban], sampling=sampling)
    assert not {free[0], free[4]} & set(plain.tokens)
    drafted = run(constraints=[ban], sampling=sampling, drafters=[TreeDrafter(free, 1), TreeDrafter(plain.tokens, 2)])
    assert drafted.tokens == plain.tokens
    # composed log-probabilities are those before the constraint
    stock = {name: (model(), ids) for name, ids in VIEWS.items()}
    views = {name: naive.next_log_probs(stock_model, ids) for name, (stock_model, ids) in stock.items()}
    composed = torch.log_softmax(naive.cad(0.5)(views), -1)
    assert plain.records[0].logprob == pytest.approx(float(composed[plain.tokens[0]]), abs=1e-5)


def test_a_banned_phrase_may_begin_but_not_be_completed():
    free = run().tokens
    phrase = free[1:4]
    ban = Ban(BanSettings(phrases=("x",)))
    result = run(constraints=[ban], tokenize=lambda text: phrase if text == "x" else [1, 2, 1, 2])
    assert result.tokens[:3] == free[:3]
    assert result.tokens[3] != free[3]
    joined = ",".join(map(str, result.tokens))
    assert ",".join(map(str, phrase)) not in joined


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.2, seed=5)])
def test_required_phrases_are_in_the_answer_before_it_ends(sampling):
    free = run(sampling=sampling).tokens
    end = frozenset([free[3]])
    need = [50, 51, 52]
    require = Require(RequireSettings(phrases=("one", "two")))

    def tokenize(text):
        return {" one": need, "one": need[1:], " two": [60], "two": [61]}[text]

    plain = run(constraints=[require], end_tokens=end, tokenize=tokenize, sampling=sampling)
    tokens = plain.tokens
    assert any(tokens[i : i + 2] == need[1:] for i in range(len(tokens)))
    assert 60 in tokens or 61 in tokens
    assert not end & set(tokens)
    drafted = run(
        constraints=[require],
        end_tokens=end,
        tokenize=tokenize,
        sampling=sampling,
        drafters=[TreeDrafter(free, 1), TreeDrafter(tokens, 2)],
        max_draft_nodes=16,
    )
    assert drafted.tokens == tokens


def test_without_a_way_on_the_answer_ends_with_reason_constraint():
    ban = Ban(BanSettings(tokens=tuple(range(VOCAB))))
    result = run(constraints=[ban])
    assert result.tokens == []
    assert result.finish_reason == "constraint"


@pytest.mark.parametrize(
    ("constraint", "settings", "message"),
    [
        (Ban(BanSettings(tokens=(VOCAB,))), {}, "outside the vocabulary"),
        (Ban(BanSettings(phrases=("x",))), {"tokenize": None}, "need a tokenizer"),
        (Require(RequireSettings(phrases=("long" * 9,))), {}, "max_new_tokens is 20"),
        (Require(RequireSettings(phrases=("x",))), {"tokenize": lambda text: []}, "has no tokens"),
    ],
)
def test_constraints_that_cannot_be_met_are_refused_when_submitted(constraint, settings, message):
    with pytest.raises(InputError, match=message):
        run(constraints=[constraint], **settings)


def test_the_signals_monitor_records_what_the_reference_computes():
    result = run(monitors=[Signals(SignalsSettings())], drafters=[TreeDrafter(run().tokens, 3)])
    record = result.monitors["signals"]
    stock = {name: (model(), ids) for name, ids in VIEWS.items()}
    for item in record["tokens"]:
        done = result.tokens[: item["position"]]
        views = {name: naive.next_log_probs(m, [*ids, *done]) for name, (m, ids) in stock.items()}
        composed = torch.log_softmax(naive.cad(0.5)(views), -1)
        assert item["entropy"] == pytest.approx(float(-(composed.exp() * composed).sum()), abs=1e-5)
        kl = (views["with_context"].exp() * (views["with_context"] - views["without_context"])).sum()
        assert item["divergence"]["without_context"] == pytest.approx(float(kl), abs=1e-5)
    assert record["perplexity"] == pytest.approx(math.exp(-sum(r.logprob for r in result.records) / 20))


def test_the_signals_monitor_flags_unlikely_tokens_only():
    probabilities = [math.exp(record.logprob) for record in run().records]
    threshold = sorted(probabilities)[5]
    events = list(
        Engine({"main": backend()}).run(
            [
                request(
                    "a", VIEWS, rules=CAD, monitors=[Signals(SignalsSettings(flag_below=threshold))], max_new_tokens=20
                )
            ]
        )
    )
    flagged = [event.detail["position"] for event in events if isinstance(event, ActionEvent)]
    assert flagged == [i for i, p in enumerate(probabilities) if p < threshold]


def test_an_empty_answer_has_an_empty_record():
    result = run(monitors=[Signals(SignalsSettings())], constraints=[Ban(BanSettings(tokens=tuple(range(VOCAB))))])
    assert result.monitors["signals"] == {"tokens": [], "mean_logprob": None, "perplexity": None, "mean_entropy": None}
