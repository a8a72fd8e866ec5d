"""The engine's tokens and log-probabilities equal those of the naive reference, however they are computed."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt, request
from tests.reference import naive
from tests.reference.llama import PlainLlama

VIEWS = {"with_context": prompt(1, 37), "without_context": prompt(2, 9)}
STOCK = {name: (model(), ids) for name, ids in VIEWS.items()}
PLAIN = {name: (PlainLlama(model()), ids) for name, ids in VIEWS.items()}
LOOKUP = PromptLookup(PromptLookupSettings())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0, -0.5])
@pytest.mark.parametrize("prefill_tokens", [16, 512])
def test_cad_equals_the_naive_reference(alpha, prefill_tokens):
    tokens, log_probs = naive.greedy(PLAIN, naive.cad(alpha), (), 24)
    result = decode(
        Engine({"main": backend()}, prefill_tokens=prefill_tokens),
        request("a", VIEWS, rules=[Cad(CadSettings(alpha=alpha))], max_new_tokens=24),
    )["a"]
    assert result.tokens == tokens
    assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(24), tokens].tolist(), abs=1e-9)


def test_cad_over_the_transformers_adapter_equals_the_naive_reference_to_1e9():
    tokens, log_probs = naive.greedy(STOCK, naive.cad(0.7), (), 24)
    result = decode(
        Engine({"main": TransformersBackend(model())}),
        request("a", VIEWS, rules=[Cad(CadSettings(alpha=0.7))], drafters=[TreeDrafter(tokens, 1)], max_new_tokens=24),
    )["a"]
    assert result.tokens == tokens
    assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(24), tokens].tolist(), abs=1e-9)
    for record in result.records[:6]:
        for view, (stock, ids) in STOCK.items():
            raw = naive.next_log_probs(stock, [*ids, *tokens[: record.position]])[record.token]
            assert record.views[view] == pytest.approx(float(raw), abs=1e-9)


def test_plain_greedy_equals_transformers_generate():
    ids = torch.tensor([VIEWS["with_context"]])
    expected = model().generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 37:]
    result = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=20))["a"]
    assert result.tokens == expected.tolist()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7, seed=3),
        Sampling(temperature=1.0, top_k=5, seed=4),
        Sampling(temperature=1.0, top_p=0.6, seed=5),
        Sampling(temperature=1.5, min_p=0.2, seed=6),
        Sampling(temperature=0.9, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.3, seed=7),
        Sampling(repetition_penalty=1.7),
    ],
    ids=str,
)
def test_sampling_equals_the_naive_reference_under_the_same_noise(sampling):
    def noise(position):
        return gumbel(sampling.seed, "a", 0, [position], VOCAB, torch.device("cpu"))[0]

    tokens, _ = naive.greedy(
        STOCK,
        naive.cad(0.5),
        (),
        24,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        noise=noise if sampling.temperature else None,
    )
    rules = [Cad(CadSettings(alpha=0.5))]
    for drafters in ([], [TreeDrafter(tokens, 2)], [LOOKUP, TreeDrafter(tokens, 3)]):
        result = decode(
            Engine({"main": backend()}),
            request("a", VIEWS, rules=rules, sampling=sampling, drafters=drafters, max_new_tokens=24),
        )["a"]
        assert result.tokens == tokens


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("seed", range(6))
def test_no_draft_tree_changes_a_token(temperature, seed):
    sampling = Sampling(temperature=temperature, seed=seed)
    end = 11
    settings = {"sampling": sampling, "max_new_tokens": 30, "end_tokens": frozenset([end])}
    rules = [Cad(CadSettings(alpha=0.5))]
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, rules=rules, **settings))["a"]
    for nodes in (2, 3, 8, 40):
        drafters = [TreeDrafter([*plain.tokens, end, 5], seed, end), LOOKUP, TreeDrafter([7] * 30, seed, end)]
        drafted = decode(
            Engine({"main": backend()}),
            request("a", VIEWS, rules=rules, drafters=drafters, max_draft_nodes=nodes, **settings),
        )["a"]
        assert drafted.tokens == plain.tokens
        assert drafted.finish_reason == plain.finish_reason
        assert [r.logprob for r in drafted.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-9)


def test_drafts_that_are_right_save_steps():
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, max_new_tokens=30))["a"]
    drafted = decode(
        Engine({"main": backend()}),
        request("a", VIEWS, drafters=[TreeDrafter(plain.tokens, 0)], max_new_tokens=30, max_draft_nodes=16),
    )["a"]
    assert plain.stats.steps == 30
    assert drafted.stats.steps < 20
    assert drafted.stats.mean_accepted == pytest.approx(30 / drafted.stats.steps)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_arrival_change_nothing(temperature):
    cad = [Cad(CadSettings(alpha=1.0))]
    sampling = Sampling(temperature=temperature, seed=1)
    requests = [
        request(
            f"r{i}",
            {"with_context": prompt(10 + i, 5 + 13 * i), "without_context": prompt(50 + i, 4 + i)},
            rules=cad if i % 2 else (),
            drafters=[LOOKUP] if i % 3 else (),
            sampling=sampling,
            max_new_tokens=6 + 4 * i,
        )
        for i in range(6)
    ]
    alone = {item.id: decode(Engine({"main": backend()}), item)[item.id] for item in requests}
    together = decode(Engine({"main": backend()}, max_batch=4, prefill_tokens=24), *requests)
    late = Engine({"main": backend()}, prefill_tokens=32)
    results = {}
    waiting = list(requests[::-1])
    for step in range(400):
        if waiting and step % 3 == 0:
            late.submit(waiting.pop())
        for event in late.step():
            if hasattr(event, "result"):
                results[event.request] = event.result
        if not waiting and not late.busy:
            break
    for name, expected in alone.items():
        assert together[name].tokens == expected.tokens
        assert results[name].tokens == expected.tokens


def test_sampling_follows_the_composed_distribution():
    """2000 first tokens against the exact probabilities: total variation within what chance allows."""
    cad = [Cad(CadSettings(alpha=0.5))]
    scores = {name: naive.next_log_probs(stock, ids) for name, (stock, ids) in STOCK.items()}
    expected = torch.softmax(naive.cad(0.5)(scores), -1)
    counts = torch.zeros(VOCAB, dtype=torch.float64)
    engine = Engine({"main": backend()}, max_batch=50, prefill_tokens=4096)
    samples = 2000
    answers = decode(
        engine,
        *(
            request(f"s{i}", VIEWS, rules=cad, sampling=Sampling(temperature=1.0), max_new_tokens=1)
            for i in range(samples)
        ),
    )
    for result in answers.values():
        counts[result.tokens[0]] += 1
    distance = 0.5 * (counts / samples - expected).abs().sum()
    # expected distance of an exact sampler: sum of binomial deviations; three times that would be a fault
    chance = 0.5 * (2 / torch.pi * expected * (1 - expected) / samples).sqrt().sum()
    assert distance < 1.5 * chance


def test_two_models_of_one_vocabulary_share_a_request():
    other = model(seed=9)
    stock = {"with_context": (model(), VIEWS["with_context"]), "without_context": (other, VIEWS["without_context"])}
    tokens, _ = naive.greedy(stock, naive.cad(0.8), (), 16)
    from ragdecode.decoding.request import Request, View

    item = Request(
        "a",
        {
            "with_context": View(VIEWS["with_context"]),
            "without_context": View(VIEWS["without_context"], model="second"),
        },
        rules=[Cad(CadSettings(alpha=0.8))],
        drafters=[LOOKUP],
        max_new_tokens=16,
    )
    engine = Engine({"main": backend(), "second": backend(seed=9)})
    assert decode(engine, item)["a"].tokens == tokens
