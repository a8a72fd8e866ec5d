"""Prefixes that were read before: the same answers, less to read."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import TARGET, Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from tests.decoding.engines import TreeDrafter, backend, decode, model, prompt, request

SYSTEM = prompt(1, 40)
ROOM = 1 << 24


def general() -> TransformersBackend:
    return TransformersBackend(model("llama").to(torch.float64))


def counting(engine_backend):
    """The backend, and a list that receives the number of tokens each pass feeds."""
    fed: list[int] = []
    forward = engine_backend.forward

    def counted(segments, **options):
        fed.append(sum(len(segment.tokens) for segment in segments))
        return forward(segments, **options)

    engine_backend.forward = counted
    return engine_backend, fed


@pytest.mark.parametrize("make", [backend, general])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_shared_beginning_is_read_once_and_changes_no_token(make, temperature):
    asked = [
        request(
            f"r{i}",
            {TARGET: [*SYSTEM, *prompt(10 + i, 9)]},
            max_new_tokens=12,
            sampling=Sampling(temperature=temperature),
        )
        for i in range(3)
    ]
    fresh = {item.id: decode(Engine({"main": make()}), item)[item.id] for item in asked}
    counted, fed = counting(make())
    engine = Engine({"main": counted}, prefix_bytes=ROOM)
    for item in asked:
        fed.clear()
        result = decode(engine, item)[item.id]
        assert result.tokens == fresh[item.id].tokens
        for mine, theirs in zip(result.records, fresh[item.id].records, strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-9)
        assert result.stats.reused_tokens == (0 if item.id == "r0" else 40)
        assert fed[0] == (49 if item.id == "r0" else 9)


def test_requests_of_one_batch_share_while_they_read():
    asked = [request(f"r{i}", {TARGET: [*SYSTEM, *prompt(10 + i, 9)]}, max_new_tokens=6) for i in range(4)]
    alone = {item.id: decode(Engine({"main": backend()}), item)[item.id].tokens for item in asked}
    counted, fed = counting(backend())
    engine = Engine({"main": counted}, prefix_bytes=ROOM, prefill_tokens=16)
    together = decode(engine, *asked)
    assert {name: result.tokens for name, result in together.items()} == alone
    assert sum(result.stats.reused_tokens for result in together.values()) >= 2 * 16
    assert sum(fed) < sum(len(item.views[TARGET].prompt) + 6 for item in asked) - 2 * 16


def test_a_chat_that_goes_on_reuses_the_answer_too():
    engine = Engine({"main": backend()}, prefix_bytes=ROOM)
    first = decode(engine, request("a", {TARGET: SYSTEM}, max_new_tokens=20))["a"]
    longer = [*SYSTEM, *first.tokens, *prompt(3, 7)]
    second = decode(engine, request("b", {TARGET: longer}, max_new_tokens=8))["b"]
    assert (
        second.tokens
        == decode(Engine({"main": backend()}), request("b", {TARGET: longer}, max_new_tokens=8))["b"].tokens
    )
    assert second.stats.reused_tokens == len(SYSTEM) + 19  # the last token of the answer was never fed


def test_every_view_has_its_own_prefixes():
    rules = [Cad(CadSettings(alpha=0.7))]
    closed = prompt(5, 30)

    def ask(name):
        views = {TARGET: [*SYSTEM, *prompt(6, 5)], "without_context": closed}
        return request(name, views, rules=rules, max_new_tokens=10, drafters=[TreeDrafter(prompt(9, 10), 0)])

    engine = Engine({"main": backend()}, prefix_bytes=ROOM)
    first, second = decode(engine, ask("x"))["x"], decode(engine, ask("y"))["y"]
    assert first.tokens == second.tokens
    assert (first.stats.reused_tokens, second.stats.reused_tokens) == (0, 44 + 29)


def test_the_budget_holds_and_the_least_recently_used_goes_first():
    plain = backend()
    engine = Engine({"main": plain}, prefix_bytes=120 * plain.token_bytes)

    def reused(seed):
        result = decode(engine, request("r", {TARGET: prompt(seed, 50)}, max_new_tokens=1))["r"]
        assert engine._prefixes.used <= 120 * plain.token_bytes
        return result.stats.reused_tokens

    assert [reused(seed) for seed in (20, 21, 20, 22, 20, 21)] == [0, 0, 49, 0, 49, 0]
    engine.forget_prefixes()
    assert reused(20) == 0


def test_without_a_budget_nothing_is_kept():
    engine = Engine({"main": backend()})
    for _ in range(2):
        assert decode(engine, request("r", {TARGET: SYSTEM}, max_new_tokens=2))["r"].stats.reused_tokens == 0


def test_rows_closed_in_the_middle_of_a_prompt_leave_a_true_prefix():
    engine = Engine({"main": backend()}, prefix_bytes=ROOM, prefill_tokens=20)
    engine.submit(request("gone", {TARGET: SYSTEM}, max_new_tokens=4))
    engine.step()
    engine.cancel("gone")
    engine.step()
    result = decode(engine, request("r", {TARGET: SYSTEM}, max_new_tokens=9))["r"]
    assert result.stats.reused_tokens == 20
    assert (
        result.tokens
        == decode(Engine({"main": backend()}), request("r", {TARGET: SYSTEM}, max_new_tokens=9))["r"].tokens
    )
