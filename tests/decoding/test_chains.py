"""Every pair of rules runs as composed by hand, drafted or not, or is refused with the reason."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import pytest
import torch

from ragdecode.decoding.engine import Engine
from ragdecode.decoding.processors.processor import _inside
from ragdecode.decoding.request import TARGET, Request, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.speculation.preconditions import check_rules
from ragdecode.errors import InputError
from ragdecode.spec import registry
from tests.decoding.engines import TreeDrafter, backend, decode, model, prompt
from tests.decoding.test_processors import SETTINGS, text_of, views_of
from tests.reference import naive
from tests.reference.llama import PlainLlama

LENGTH = 6
IDS = prompt(1, 37)
#: They read a store beside the request; their tests have chains of their own.
STORES = {"caad", "knn_lm"}
NAMES = sorted(registry.parts("rule").keys() - STORES)
OWN = {**SETTINGS, "entropy_switch": {"small": "small", "window": 1, "stay": 1, "threshold": 4.0}}
#: What a rule asks for besides log-probabilities; such pairs are compared drafted with undrafted alone.
MORE = ("hidden", "expand", "layers", "attends", "taps", "remembers", "switches")


def made(name):
    info = registry.find("rule", name)
    return info.cls(info.settings.model_validate(OWN.get(name, {})))


def chain_request(pair, rules, **settings):
    views = {}
    for rule in rules:
        views |= views_of(rule, IDS, 0)
        views |= {view: View(IDS, intervention=_inside(spec)) for view, spec in rule.declares.items() if _inside(spec)}
    views |= {"without_context": View(prompt(7, 11))}
    return Request("+".join(pair), views, rules=rules, max_new_tokens=LENGTH, detokenize=text_of, **settings)


def refusal(pair):
    """Why a pair is refused; None if it is not."""
    rules = [made(name) for name in pair]
    try:
        check_rules(chain_request(pair, rules))
    except InputError as error:
        return f"{error} ({error.hint or 'no way out'})"
    return None


PAIRS = list(permutations(NAMES, 2))
RUNNING = [pair for pair in PAIRS if refusal(pair) is None]


def stateless(rules):
    plain = all(not any(getattr(rule, what, None) for what in MORE) for rule in rules)
    return plain and all(type(rule).reads is Rule.reads and type(rule).start is Rule.start for rule in rules)


@cache
def predicted(ids, tokens):
    return naive.next_log_probs(PlainLlama(model()), [*ids, *tokens])


def by_hand(request):
    """Rule after rule on what the views predict, whole prompts re-run."""
    tokens, log_probs = [], []
    for _ in range(LENGTH):
        views = {
            name: predicted(tuple(view.prompt), tuple(tokens))[None]
            for name, view in request.views.items()
            if view.intervention is None
        }
        composed = views[TARGET]
        for rule in request.rules:
            nodes = Nodes(composed=composed, log_probs=views, lengths=[len(tokens)], path=lambda _, __=None: tokens)
            composed = torch.log_softmax(rule.compose(nodes), -1)
        tokens.append(int(composed.argmax()))
        log_probs.append(float(composed.max()))
    return tokens, log_probs


def test_every_pair_runs_as_composed_by_hand_or_is_refused():
    assert len(RUNNING) > 80
    assert len(RUNNING) < len(PAIRS)
    chains = {pair: [made(name) for name in pair] for pair in RUNNING}
    plain = decode(
        Engine({"main": backend()}, prefill_tokens=4096), *(chain_request(pair, chains[pair]) for pair in RUNNING)
    )
    drafted = decode(
        Engine({"main": backend()}, prefill_tokens=4096),
        *(
            chain_request(pair, chains[pair], drafters=[TreeDrafter(plain["+".join(pair)].tokens, place)])
            for place, pair in enumerate(RUNNING)
        ),
    )
    compared = 0
    for pair in RUNNING:
        one, other = plain["+".join(pair)], drafted["+".join(pair)]
        assert one.tokens == other.tokens, pair
        found = [record.logprob for record in one.records]
        assert found == pytest.approx([record.logprob for record in other.records], abs=1e-9), pair
        request = chain_request(pair, chains[pair])
        inside = any(view.intervention for view in request.views.values())
        if stateless(chains[pair]) and not inside:
            tokens, log_probs = by_hand(request)
            assert one.tokens == tokens, pair
            assert found == pytest.approx(log_probs, abs=1e-9), pair
            compared += 1
    assert compared > 30
    assert sum(result.stats.accepted for result in drafted.values()) > len(RUNNING)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("cad", "acd"), "both reweigh"),
        (("cad", "ensemble"), "both reweigh"),
        (("dola", "ensemble"), "begins from the views of the passages"),
        (("entropy_switch", "cad"), "needs the view without_context"),
        (("entropy_switch", "kl_to_evidence"), "what the prompt predicts"),
        (("plausible", "entropy_switch"), "decides which model runs"),
        (("contrastive_search", "plausible"), "cannot work on it"),
        (("lookback", "cad"), "cannot work on it"),
        (("acd", "plausible"), None),
        (("cad", "decore"), None),
        (("cad", "dagcd"), None),
        (("ensemble", "plausible"), None),
        (("entropy_switch", "reward"), None),
        (("acd", "contrastive_search"), None),
        (("contrast", "reward"), None),
    ],
)
def test_what_goes_together(pair, reason):
    found = refusal(pair)
    assert (found is None) if reason is None else reason in found


def test_every_refusal_names_a_way_out():
    refused = [refusal(pair) for pair in PAIRS if pair not in RUNNING]
    assert not [reason for reason in refused if "no way out" in reason]
