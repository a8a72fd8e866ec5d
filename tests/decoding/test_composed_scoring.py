"""Given answers under rule chains, against composing token by token over whole prompts."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.composed_scoring import ComposedScorer
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.plausible import Plausible
from ragdecode.decoding.scoring import continuation_log_probs
from ragdecode.errors import InputError
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, backend, decode, model, prompt
from tests.reference import naive
from tests.reference.acd import acd
from tests.reference.llama import PlainLlama

VIEWS = {"with_context": prompt(1, 61), "without_context": prompt(3, 7)}
PLAIN = {name: (PlainLlama(model()), ids) for name, ids in VIEWS.items()}


def rule(name, **settings):
    info = registry.find("rule", name)
    return info.cls(info.settings.model_validate(settings))


def request(name, rules=(), **settings):
    return Request(name, {view: View(ids) for view, ids in VIEWS.items()}, rules=rules, **settings)


def stepwise(compose, answer):
    """Log-probability of each token, every view run over its whole prompt and the answer so far."""
    found = []
    for place, token in enumerate(answer):
        views = {name: naive.next_log_probs(stock, [*ids, *answer[:place]]) for name, (stock, ids) in PLAIN.items()}
        found.append(float(torch.log_softmax(compose(views), -1)[token]))
    return found


def answers(seed, count=5):
    """Random answers, some of which begin alike, one that begins another, one twice, one of no token."""
    draw = random.Random(seed)
    made = [[draw.randrange(VOCAB) for _ in range(draw.randrange(1, 9))] for _ in range(count)]
    made += [[*made[0][:2], *made[1]], made[0][:1], made[2], []]
    return made


RULES = [
    ([], naive.plain()),
    ([("cad", {"alpha": 0.5})], naive.cad(0.5)),
    ([("acd", {})], acd()),
]


@pytest.mark.parametrize(("chain", "compose"), RULES, ids=["plain", "cad", "acd"])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_composing_token_by_token(chain, compose, seed):
    given = answers(seed)
    scorer = ComposedScorer({"main": backend()}, prefill_tokens=16, vocab_size=VOCAB)
    found = scorer([(request("a", [rule(name, **settings) for name, settings in chain]), given)])[0]
    assert [len(one) for one in found] == [len(one) for one in given]
    for values, answer in zip(found, given, strict=True):
        assert values == pytest.approx(stepwise(compose, answer), abs=1e-9)


def test_scores_are_what_decoding_reports():
    rules = [Cad(CadSettings(alpha=1.0))]
    engine = Engine({"main": backend()})
    result = decode(engine, request("a", rules, max_new_tokens=12, sampling=Sampling(temperature=1.0, seed=3)))["a"]
    # the request's own sampling, ends and length do not matter
    asked = request("a", rules, max_new_tokens=2, end_tokens=frozenset(result.tokens), sampling=Sampling(1.5, 0.7))
    found = ComposedScorer({"main": backend()})([(asked, [result.tokens])])[0][0]
    assert found == pytest.approx([record.logprob for record in result.records], abs=1e-9)


def test_many_requests_share_passes_and_prefixes_and_change_nothing():
    chains = [[], [rule("cad", alpha=1.0)], [rule("acd")], [rule("cad"), rule("plausible")]]
    asked = [(request("same id", chain), answers(at)) for at, chain in enumerate(chains * 2)]
    together = ComposedScorer({"main": backend()}, max_batch=5, prefix_bytes=1 << 24)
    alone = [ComposedScorer({"main": backend()})([one])[0] for one in asked]
    for found in (together(asked), together(asked[::-1])[::-1]):
        for mine, theirs in zip(found, alone, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert one == pytest.approx(other, abs=1e-9)


def test_plain_scores_equal_the_plain_scorer():
    given = answers(4)
    pairs = [(VIEWS["with_context"], answer) for answer in given]
    expected = continuation_log_probs(backend(), pairs, vocab_size=VOCAB)
    for values, wanted in zip(ComposedScorer({"main": backend()})([(request("a"), given)])[0], expected, strict=True):
        assert values == pytest.approx(wanted, abs=1e-9)


def test_a_token_that_a_rule_rules_out_has_no_probability():
    mask = rule("plausible", ratio=0.99)
    assert isinstance(mask, Plausible)
    values = ComposedScorer({"main": backend()})([(request("a", [mask]), [[token] for token in range(VOCAB)])])[0]
    assert sum(value == [float("-inf")] for value in values) > VOCAB // 2


def test_nothing_to_score():
    scorer = ComposedScorer({"main": backend()})
    assert scorer([]) == []
    assert scorer([(request("a"), []), (request("b"), [[]])]) == [[], [[]]]


def test_unknown_tokens_and_answers_beyond_the_window_are_refused():
    scorer = ComposedScorer({"main": backend()}, vocab_size=VOCAB)
    for token in (VOCAB, -1):
        with pytest.raises(InputError, match="holds a token that the model has not"):
            scorer([(request("a"), [[1, token]])])
    with pytest.raises(InputError, match="view 'with_context'"):
        scorer([(request("a"), [[1] * 100_000])])
    assert scorer([(request("a"), [[1]])])[0][0]  # it goes on
