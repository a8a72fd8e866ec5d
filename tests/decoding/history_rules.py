"""Requests and checks shared by the tests of rules that look at the prompt or at what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.reference import steps
from tests.reference.llama import PlainLlama

PROMPT = prompt(1, 29)
SHORT = prompt(2, 8)
#: where the prompt shows passages
SPANS = [(4, 9), (9, 15), (20, 24)]
LOOKUP = PromptLookup(PromptLookupSettings())


def rule(name: str, **settings):
    info = registry.find("rule", name)
    return info.cls(info.settings.model_validate(settings))


@cache
def engine() -> Engine:
    return Engine({"main": backend()}, prefill_tokens=13)


@cache
def plain() -> PlainLlama:
    return PlainLlama(model())


def request(name: str, rules: Sequence, *, spans=tuple(SPANS), ids=PROMPT, **settings) -> Request:
    evidence = tuple(Evidence(start, stop, place) for place, (start, stop) in enumerate(spans))
    views = {"with_context": View(ids, evidence=evidence)}
    if any("without_context" in one.views for one in rules):
        views["without_context"] = View(SHORT)
    return Request(name, views, rules=rules, **settings)


def noise_of(sampling: Sampling, name: str = "a") -> Callable[[int], torch.Tensor]:
    return lambda place: gumbel(sampling.seed, name, 0, [place], VOCAB, torch.device("cpu"))[0]


def compare(rules: Sequence, step: steps.Step, count: int = 12, sampling: Sampling | None = None) -> list[int]:
    """The engine's tokens and log-probabilities are those of the reference, with drafts and without."""
    sampling = sampling or Sampling()
    noise = noise_of(sampling) if sampling.temperature else None
    tokens, wanted = steps.decode(step, count, temperature=sampling.temperature, noise=noise)
    for drafters in ([], [TreeDrafter(tokens, 2), LOOKUP]):
        item = request("a", rules, max_new_tokens=count, sampling=sampling, drafters=drafters)
        result = decode(engine(), item)["a"]
        assert result.tokens == tokens
        assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)
    return tokens


def drafts_change_nothing(rules: Sequence, sampling: Sampling) -> None:
    common = {"sampling": sampling, "max_new_tokens": 18, "end_tokens": {11}}
    alone = decode(engine(), request("a", rules, **common))["a"]
    for nodes in (3, 20):
        drafters = [TreeDrafter([*alone.tokens, 11], 3, 11), LOOKUP, TreeDrafter([7] * 20, 3, 11)]
        drafted = decode(engine(), request("a", rules, drafters=drafters, max_draft_nodes=nodes, **common))["a"]
        assert (drafted.tokens, drafted.finish_reason) == (alone.tokens, alone.finish_reason)
        logprobs = [record.logprob for record in alone.records]
        assert [record.logprob for record in drafted.records] == pytest.approx(logprobs, abs=1e-9)


def neighbours_change_nothing(items: Sequence[Request]) -> None:
    """Each answer is the same alone and beside the others, which join while it is under way."""
    alone = {item.id: decode(engine(), item)[item.id] for item in items}
    late = Engine({"main": backend()}, prefill_tokens=16)
    results, waiting = {}, list(items[::-1])
    for step in range(300):
        if waiting and step % 2 == 0:
            late.submit(waiting.pop())
        results |= {event.request: event.result for event in late.step() if hasattr(event, "result")}
        if not waiting and not late.busy:
            break
    for name, wanted in alone.items():
        assert results[name].tokens == wanted.tokens
        logprobs = [record.logprob for record in wanted.records]
        assert [record.logprob for record in results[name].records] == pytest.approx(logprobs, abs=1e-9)
