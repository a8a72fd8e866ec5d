"""kNN-LM against a plain numpy reference, over passages and over a memory, with drafts, in batches and in chains."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.knn.gate import Gate, gate_bytes
from ragdecode.decoding.monitors.signals import Signals, SignalsSettings
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.knn_lm import KnnLm, KnnLmSettings
from ragdecode.errors import InputError
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.decoding.memories import ListMemory
from tests.reference import knn_lm as reference
from tests.reference import naive
from tests.reference.llama import PlainLlama

#: The prompt shows a text twice, so that its tokens have somewhere to copy from.
PROMPT = [*prompt(1, 12), *prompt(2, 20), *prompt(3, 6), *prompt(2, 14), *prompt(4, 5)]
SPANS = ((12, 32), (38, 52))
CLOSED = prompt(7, 9)
LENGTH = 12
TEXTS = [prompt(11, 40), PROMPT[12:32] + prompt(12, 15), prompt(13, 25)]
CONTEXT = 3


@cache
def plain() -> PlainLlama:
    return PlainLlama(model())


@cache
def seen(ids: tuple[int, ...]) -> np.ndarray:
    return plain().ffn_input(list(ids)).numpy()


@cache
def predicted(ids: tuple[int, ...]) -> torch.Tensor:
    return naive.next_log_probs(plain(), list(ids))


@cache
def engine() -> Engine:
    return Engine({"main": backend()}, prefill_tokens=13)


def rule(**settings) -> KnnLm:
    return KnnLm(KnnLmSettings.model_validate(settings))


def request(name: str, rules, spans=SPANS, **settings) -> Request:
    views = {
        "with_context": View(PROMPT, evidence=tuple(Evidence(a, b, i) for i, (a, b) in enumerate(spans))),
        "without_context": View(CLOSED),
    }
    return Request(name, views, rules=rules, **{"max_new_tokens": LENGTH, **settings})


@cache
def in_prompt(context: int = 4) -> tuple[np.ndarray, tuple[int, ...]]:
    """Keys and values of the passages as the prompt shows them."""
    places = [place for start, stop in SPANS for place in range(start + context - 1, stop - 1)]
    return seen(tuple(PROMPT))[places], tuple(PROMPT[place + 1] for place in places)


def remembered(texts) -> ListMemory:
    keys = [seen(tuple(text))[CONTEXT - 1 : -1].astype(np.float16) for text in texts]
    return ListMemory(keys, texts, CONTEXT)


@cache
def memory() -> ListMemory:
    return remembered(TEXTS)


def expected(keys, values, k, heat, weigh, *, length=LENGTH, cad=None, cad_last=False, pick=None, search=None):
    """Tokens and composed log-probabilities of them; whole prompts re-run."""
    tokens: list[int] = []
    told: list[float] = []
    for position in range(length):
        composed = predicted((*PROMPT, *tokens))
        closed = predicted((*CLOSED, *tokens))
        if cad is not None and not cad_last:
            composed = torch.log_softmax((1 + cad) * composed - cad * closed, -1)
        query = seen((*PROMPT, *tokens))[-1]
        if search is None:
            rows, far = reference.neighbours(keys, query, k)
        else:
            rows, far = search.step(query, tokens[-1] if tokens else None)
        table = reference.votes([values[row] for row in rows], far, heat, VOCAB)
        probs = composed.exp().tolist()
        final = torch.tensor(reference.mixed(probs, table, weigh(probs, table, far[0])), dtype=torch.float64).log()
        if cad_last:
            final = torch.log_softmax((1 + cad) * final - cad * closed, -1)
        tokens.append(int((final if pick is None else pick(final, position)).argmax()))
        told.append(float(final[tokens[-1]]))
    return tokens, told


def check(result, tokens, told):
    assert result.tokens == tokens
    assert [record.logprob for record in result.records] == pytest.approx(told, abs=1e-9)


def fixed(weight):
    return lambda probs, table, nearest: weight


BUCKETS = {"edges": [4.0, 6.0], "weights": [0.8, 0.4, 0.1]}
TUNING = {"temperature": 0.7, "weight": 0.35, "buckets": BUCKETS}


@pytest.mark.parametrize(
    ("settings", "k", "weigh"),
    [
        ({"k": 5, "temperature": 0.3, "weight": 0.6}, 5, fixed(0.6)),
        ({"temperature": 2.0}, 64, fixed(0.25)),
        ({"k": 8, "tuning": TUNING}, 8, fixed(0.35)),
        ({"k": 8, "tuning": TUNING, "by": "distance"}, 8,
         lambda p, t, near: reference.by_distance(near, BUCKETS["edges"], BUCKETS["weights"])),
        ({"k": 6, "temperature": 0.5, "weight": 0.9, "by": "entropy", "above": 2.0}, 6,
         lambda p, t, near: reference.by_entropy(p, t, 6, 0.9, 2.0)),
    ],
)  # fmt: skip
def test_over_the_prompts_passages_it_is_the_naive_mixture_drafted_or_not(settings, k, weigh):
    keys, values = in_prompt()
    heat = settings.get("temperature") or TUNING["temperature"]
    tokens, told = expected(keys, values, min(k, len(keys)), heat, weigh)
    assert tokens != expected(keys, values, 1, 1.0, fixed(0.0))[0]
    for place, drafters in enumerate(([], [TreeDrafter(tokens, 3)])):
        check(decode(engine(), request(f"a{place}", [rule(**settings)], drafters=drafters))[f"a{place}"], tokens, told)


@pytest.mark.parametrize("listen", [3.0, 16.0])
def test_without_a_temperature_the_stores_own_keys_give_it(listen):
    keys, values = in_prompt()
    heat = reference.heat(keys, 64, 64, listen)
    tokens, told = expected(keys, values, len(keys), heat, fixed(0.5))
    result = decode(engine(), request("a", [rule(listen=listen, weight=0.5)]))["a"]
    assert result.tokens == tokens
    assert [record.logprob for record in result.records] == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize("weight", [0.25, 0.9])
def test_over_a_memory_all_requests_are_searched_together_and_each_as_if_alone(weight):
    held = memory()
    settings = {"store": "memory", "k": 7, "temperature": 0.4, "weight": weight}
    tokens, told = expected(held.keys, held.tokens, 7, 0.4, fixed(weight))
    made = rule(**settings)
    own = {"resources": {"memory": held}}
    own_engine, before, steps = Engine({"main": backend()}, prefill_tokens=13), held.searches, []
    step = own_engine.step
    own_engine.step = lambda: (steps.append(1), step())[1]
    neighbours = [
        Request("b", {"with_context": View(prompt(8, 21))}, rules=[made], max_new_tokens=9, **own),
        request("c", [made], drafters=[TreeDrafter(tokens, 5)], **own),
    ]
    results = decode(own_engine, *neighbours, request("a", [made], **own))
    check(results["a"], tokens, told)
    check(results["c"], tokens, told)
    assert LENGTH <= held.searches - before <= len(steps)
    assert results["a"].stats.rules == {"knn_lm": {"searched": LENGTH, "spared": 0}}


@pytest.mark.parametrize("temperature", [0.6, 1.3])
@pytest.mark.parametrize("store", ["passages", "memory"])
def test_sampling_and_drafts_change_nothing(temperature, store):
    def pick(log_probs, position):
        noise = gumbel(5, "a", 0, [position], VOCAB, torch.device("cpu"))[0]
        return naive.warped(log_probs, temperature, 0, 1.0, 0.0).log() + noise

    keys, values = in_prompt() if store == "passages" else (memory().keys, memory().tokens)
    tokens, told = expected(keys, values, 6, 0.5, fixed(0.5), pick=pick)
    more = {"sampling": Sampling(temperature=temperature, seed=5), "resources": {"memory": memory()}}
    made = rule(store=store, k=6, temperature=0.5, weight=0.5)
    for drafters in ([], [TreeDrafter(tokens, 2)]):
        check(decode(engine(), request("a", [made], drafters=drafters, **more))["a"], tokens, told)


@pytest.mark.parametrize("last", [False, True])
def test_in_a_chain_with_cad_before_and_behind(last):
    keys, values = in_prompt()
    tokens, told = expected(keys, values, 6, 0.5, fixed(0.4), cad=0.5, cad_last=last)
    chain = [rule(k=6, temperature=0.5, weight=0.4), Cad(CadSettings(alpha=0.5))]
    for drafters in ([], [TreeDrafter(tokens, 2)]):
        item = request("a", chain if last else chain[::-1], drafters=drafters)
        check(decode(engine(), item)["a"], tokens, told)


@pytest.mark.parametrize("fewest", [1, 2, 4])
def test_pointers_are_followed_by_the_nodes_own_ancestors_alone(fewest):
    held = remembered([[5 + token % 3 for token in prompt(seed, 14)] for seed in range(8)])  # few tokens, short texts
    ends = [held.starts[at + 1] - 1 for at in range(8)]
    walk = reference.Pointers(held.keys, held.tokens, ends, 6, fewest)
    tokens, told = expected(held.keys, held.tokens, 6, 0.4, fixed(0.8), search=walk)
    always, _ = expected(held.keys, held.tokens, 6, 0.4, fixed(0.8))
    made = rule(store="memory", k=6, temperature=0.4, weight=0.8, pointers=fewest)
    more = {"resources": {"memory": held}}
    alone = decode(engine(), request("a", [made], **more))["a"]
    check(alone, tokens, told)
    assert alone.stats.rules["knn_lm"] == {"searched": walk.searches, "followed": LENGTH - walk.searches, "spared": 0}
    assert 1 < walk.searches < LENGTH
    items = [
        request(f"d{seed}", [made], drafters=[TreeDrafter(tokens, seed), TreeDrafter(always, seed + 9)], **more)
        for seed in range(4)
    ]
    for result in decode(Engine({"main": backend()}), *items).values():
        check(result, tokens, told)
        assert result.stats.accepted > 0


def gate_file(tmp_path, floor=0.0):
    torch.manual_seed(3)
    gate = Gate(32, VOCAB, hidden=8, layers=3).double().eval()
    with torch.no_grad():
        gate.frequency.copy_(torch.rand(VOCAB) * 3)
        gate.fertility.copy_(torch.rand(VOCAB))
        gate.floor.fill_(floor)
        gate.scale.fill_(2.0)
        gate.network[-1].weight.mul_(30)
    (tmp_path / "gate.safetensors").write_bytes(gate_bytes(gate.float(), {"model": "tiny", "key": "ffn_input"}))
    return gate, str(tmp_path / "gate.safetensors")


@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_the_learned_gate_weighs_and_saves_searches(tmp_path, floor):
    gate, path = gate_file(tmp_path, floor)
    held = memory()
    opened = []

    def weigh(tokens):
        features = gate.features(
            torch.tensor(seen((*PROMPT, *tokens))[-1:]),
            predicted((*PROMPT, *tokens))[None],
            torch.tensor([[*PROMPT, *tokens][-1]]),
        )
        found = float(gate(features)[0, 1].exp().detach())
        opened.append(found >= floor)
        return found if found >= floor else 0.0

    tokens, told = [], []
    for _ in range(LENGTH):
        rows, far = reference.neighbours(held.keys, seen((*PROMPT, *tokens))[-1], 5)
        table = reference.votes([held.tokens[row] for row in rows], far, 0.7, VOCAB)
        probs = predicted((*PROMPT, *tokens)).exp().tolist()
        final = reference.mixed(probs, table, weigh(tokens))
        tokens.append(int(np.argmax(final)))
        told.append(math.log(final[tokens[-1]]))
    made = rule(store="memory", k=5, by="gate", tuning={**TUNING, "gate": path})
    result = decode(engine(), request("a", [made], resources={"memory": held}))["a"]
    assert result.tokens == tokens
    assert [record.logprob for record in result.records] == pytest.approx(told, abs=1e-5)
    assert result.stats.rules["knn_lm"] == {"searched": sum(opened), "spared": LENGTH - sum(opened)}
    assert floor == 0 or 0 < sum(opened) < LENGTH


def test_texts_read_one_by_one_vote_too():
    texts = [PROMPT[12:32], PROMPT[38:52]]

    class Passages:
        facts: ClassVar = {"model": "tiny"}

        def keys(self, key, context):
            assert (key, context) == ("ffn_input", 2)
            return [(text, torch.tensor(seen(tuple(text))[1:-1]), {"id": f"p{at}"}) for at, text in enumerate(texts)]

    keys = np.concatenate([seen(tuple(text))[1:-1] for text in texts])
    values = [token for text in texts for token in text[2:]]
    tokens, told = expected(keys, values, 9, 0.5, fixed(0.5))
    made = rule(read="text", context=2, k=9, temperature=0.5, weight=0.5)
    check(decode(engine(), request("a", [made], resources={"passages": Passages()}))["a"], tokens, told)
    with pytest.raises(InputError, match="needs the passages, which the request does not bring"):
        decode(engine(), request("b", [made]))


@pytest.mark.parametrize("settings", [{"weight": 0.0}, {"by": "entropy", "above": 50.0}])
def test_without_weight_the_model_is_left_alone_and_nothing_is_searched_for(settings):
    free = decode(engine(), request("p", []))["p"]
    result = decode(engine(), request("a", [rule(**settings)]))["a"]
    assert result.tokens == free.tokens
    told = [record.logprob for record in result.records]
    assert told == pytest.approx([record.logprob for record in free.records], abs=1e-14)
    assert result.stats.rules == {"knn_lm": {"searched": 0, "spared": LENGTH}}


@pytest.mark.parametrize("spans", [(), ((4, 7),)])
def test_without_passages_the_model_is_left_alone_and_that_is_said(spans):
    free = decode(engine(), request("p", [], drafters=[]))["p"]
    result = decode(engine(), request("a", [rule()], spans))["a"]
    assert result.tokens == free.tokens
    told = [record.logprob for record in result.records]
    assert told == pytest.approx([record.logprob for record in free.records], abs=1e-14)
    assert result.notes == ("rule knn_lm: it is not known where the prompt shows passages, if any: nothing voted",)


def test_where_nobody_votes_not_a_bit_changes():
    made = rule(weight=0.9)
    composed = torch.randn(3, VOCAB).log_softmax(-1)
    assert made.compose(Nodes(composed, {})) is composed
    held = ListMemory(memory().blocks, TEXTS, CONTEXT)
    silent = rule(store="memory", weight=0.0, temperature=1.0).start(request("a", [], resources={"memory": held}))
    taps = {"ffn_input": torch.randn(3, 32)}
    found = silent.compose(Nodes(composed, {}, taps=taps, tokens=[1, 2, 3], parents=[-1, -1, -1]))
    assert torch.equal(found, composed)
    assert held.searches == 0


def test_what_must_not_vote_is_left_out():
    held = memory()
    start, stop = held.starts[1], held.starts[2]
    kept = [row for row in range(len(held)) if not start <= row < stop]
    tokens, told = expected(held.keys[kept], [held.tokens[row] for row in kept], 5, 0.4, fixed(0.7))
    made = rule(store="memory", k=5, temperature=0.4, weight=0.7)
    more = {"resources": {"memory": held, "leave_out": ["doc1"]}}
    check(decode(engine(), request("a", [made], **more))["a"], tokens, told)
    with pytest.raises(InputError, match="no document of the memory is of 'doc9'"):
        decode(engine(), request("b", [made], resources={"memory": held, "leave_out": ["doc9"]}))


def test_every_token_is_explained_by_the_neighbours_that_voted_for_it_drafted_or_not():
    held = memory()
    made = rule(store="memory", k=7, temperature=0.4, weight=0.6, pointers=1)
    more = {"resources": {"memory": held}, "explain": 3}
    result = decode(engine(), request("a", [made], **more))["a"]
    told = [record.explained["knn_lm"] for record in result.records]
    assert any(one["neighbours"] for one in told)
    for record, one in zip(result.records, told, strict=True):
        ids = (*PROMPT, *result.tokens[: record.position])
        assert one["lambda"] == 0.6
        assert len(one["neighbours"]) <= 3
        assert sum(other["votes"] for other in one["others"]) + one["votes"] <= 1 + 1e-9
        for neighbour in one["neighbours"]:
            text, at = TEXTS[neighbour["document"]], neighbour["token"]
            assert neighbour["source"] == f"doc{neighbour['document']}"
            assert text[at] == record.token == neighbour["behind"][0]
            assert neighbour["before"] == text[max(0, at - 12) : at]
            key = seen(tuple(text))[at - 1].astype(np.float16).astype(np.float64)
            assert neighbour["distance"] == pytest.approx(float(((key - seen(ids)[-1]) ** 2).sum()), abs=1e-9)
            assert 0 < neighbour["mass"] <= one["votes"] + 1e-12
        probability = 0.4 * math.exp(float(predicted(ids)[record.token])) + 0.6 * one["votes"]
        assert record.logprob == pytest.approx(math.log(probability), abs=1e-9)
    drafted = request("d", [made], drafters=[TreeDrafter(result.tokens, 1)], **more)
    again = [record.explained["knn_lm"] for record in decode(engine(), drafted)["d"].records]
    assert [[n["token"] for n in one["neighbours"]] for one in again] == [
        [n["token"] for n in one["neighbours"]] for one in told
    ]
    silent = decode(engine(), request("s", [made], resources=more["resources"]))["s"]
    assert not any(record.explained for record in silent.records)


def test_nothing_is_explained_that_nobody_asked_for(monkeypatch):
    monkeypatch.setattr(KnnLm, "explain", lambda *_: pytest.fail("explained"))
    decode(engine(), request("a", [rule()], drafters=[TreeDrafter(prompt(1, 9), 1)]))


def test_its_signals_are_those_of_the_neighbours():
    keys, values = in_prompt()
    made = rule(k=6, temperature=0.5, weight=0.4)
    result = decode(engine(), request("a", [made], monitors=[Signals(SignalsSettings())]))["a"]
    for at, told in enumerate(result.monitors["signals"]["tokens"]):
        rows, far = reference.neighbours(keys, seen((*PROMPT, *result.tokens[:at]))[-1], 6)
        table = reference.votes([values[row] for row in rows], far, 0.5, VOCAB)
        assert told["rules"]["knn_lm.weight"] == pytest.approx(0.4)
        assert told["rules"]["knn_lm.nearest"] == pytest.approx(far[0], abs=1e-9)
        assert told["rules"]["knn_lm.entropy"] == pytest.approx(reference.entropy(table), abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "facts", "message"),
    [
        ({"k": 5000}, {}, r"k is 5000; the memory has \d+ entries"),
        ({"key": "final"}, {}, "compares 'final'; the keys of the memory are 'ffn_input'"),
        ({"tuning": {**TUNING, "model": "other"}}, {}, "for another model: other, now tiny"),
        ({"tuning": {**TUNING, "dtype": "float32"}}, {}, "for another dtype: float32, now float64"),
        ({"tuning": {**TUNING, "tokenizer": "x"}}, {}, "for another tokenizer: x, now letters"),
        ({}, {"key": "odd"}, "compares the vector 'odd', which this model does not tell"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_decoded(settings, facts, message):
    held = ListMemory(memory().blocks, TEXTS, CONTEXT, **facts)
    with pytest.raises(InputError, match=message):
        decode(engine(), request("a", [rule(store="memory", **settings)], resources={"memory": held}))


def test_a_request_without_its_memory_is_refused():
    with pytest.raises(InputError, match="the request brings no memory"):
        decode(engine(), request("a", [rule(store="memory")]))


@pytest.mark.parametrize(
    "settings",
    [
        {"weight": 1.0}, {"weight": -0.1}, {"weight": float("nan")}, {"k": 0}, {"temperature": 0},
        {"by": "distance"}, {"by": "gate", "tuning": TUNING}, {"by": "distance", "tuning": TUNING, "weight": 0.2},
        {"store": "memory", "context": 5}, {"pointers": 2}, {"above": 2.0},
        {"store": "memory", "k": 3, "pointers": 4}, {"key": "final", "tuning": {**TUNING, "key": "ffn_input"}},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        rule(**settings)
