"""Random mixes of everything that drafts with everything that decides: tokens are those of the undrafted run."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from ragdecode.decoding.backends.int4 import int4_fails
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.constraints.ban import Ban, BanSettings
from ragdecode.decoding.constraints.require import Require, RequireSettings
from ragdecode.decoding.drafters.datastore import Datastore, DatastoreSettings
from ragdecode.decoding.drafters.draft_model import DraftModel, DraftModelSettings
from ragdecode.decoding.drafters.lookahead import Lookahead, LookaheadSettings
from ragdecode.decoding.drafters.ngram import Ngram, NgramSettings
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.drafters.quantized import Quantized, QuantizedSettings
from ragdecode.decoding.drafters.rasd import Rasd, RasdSettings
from ragdecode.decoding.drafters.recycling import Recycling, RecyclingSettings
from ragdecode.decoding.drafters.self_speculation import SelfSpeculation, SelfSpeculationSettings
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve, Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.transfer import Transfer, TransferSettings
from ragdecode.decoding.speculation.governor import FixedTree
from ragdecode.decoding.speculation.governor_throughput import Throughput
from ragdecode.decoding.speculation.governor_ucb import Bandit
from ragdecode.decoding.speculation.step_cost import StepCosts
from ragdecode.indexing.tokens.datastore import TokenDatastore
from ragdecode.indexing.tokens.shard import Shard, id_type, separator
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.settings import NoSettings
from tests.decoding.codecs import random_vocabulary
from tests.decoding.drafting_worlds import FLAT
from tests.decoding.engines import VOCAB, TreeDrafter, prompt
from tests.decoding.tiny_models import tiny

SEEDS = range(int(os.environ.get("RAGDECODE_FUZZ_FROM", "0")), int(os.environ.get("RAGDECODE_FUZZ_TO", "5")))
WINDOW = 96
OTHER = 83
SMALL = ModelSpec.model_validate({"name": "small", "source": {"path": {"path": "nowhere"}}})
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "max_position_embeddings": WINDOW,
}
LIGHT = int4_fails(torch.device("cpu")) is None


@cache
def stock(name: str):
    if name == "main":
        return tiny("llama", vocab_size=VOCAB, seed=0, **SIZES)
    return tiny("llama", vocab_size=OTHER if name == "foreign" else VOCAB, seed=9, max_position_embeddings=WINDOW)


@cache
def backends(kind: str):
    if kind == "transformers":
        return {name: TransformersBackend(stock(name)) for name in ("main", "small", "foreign")}
    return {
        name: LlamaBackend(
            stock(name).config.to_dict(), stock(name).state_dict(), dtype=torch.float64, light=name == "main" and LIGHT
        )
        for name in ("main", "small", "foreign")
    }


@cache
def vocabularies():
    native = random_vocabulary(VOCAB, 1)
    return {"main": native, "small": native, "foreign": random_vocabulary(OTHER, 2)}


@cache
def store() -> TokenDatastore:
    dtype = id_type(VOCAB)
    texts = [prompt(seed, 300) for seed in range(4)]
    tokens = np.array([token for text in texts for token in (*text, separator(dtype))], dtype)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).astype(np.uint32)
    return TokenDatastore([Shard.sort(tokens, np.zeros((4, 16), np.uint8), starts)], dtype, None, "tiny")


class Chaos(Monitor):
    """Rewinds with bans and overrides and asks for other prompts, at places that a seed decides."""

    part_name = "chaos"

    def __init__(self, seed: int, overrides: list[dict[str, float]]) -> None:
        super().__init__(NoSettings())
        self.seed, self.overrides = seed, overrides

    def start(self, request):
        return _ChaosSession(self)


class _ChaosSession(MonitorSession):
    def __init__(self, parent: Chaos) -> None:
        self.rng, self.overrides = random.Random(parent.seed), parent.overrides

    def observe(self, token):
        rng = self.rng
        if rng.random() < 0.85:
            return None
        to = rng.randrange(token.position + 2)
        if rng.random() < 0.4:
            return Retrieve("more", to=rng.choice([None, to]))
        return Rewind(to, rng.choice(self.overrides), bans=[token.token] if rng.random() < 0.7 else [])

    def rewind(self, length):
        pass

    def record(self):
        return None


def spelt(text: str) -> list[int]:
    return [3 + ord(letter) % 90 for letter in text]


def drafters(rng: random.Random, kind: str, guesses: list[int], end: int | None, *, foreign: bool) -> list:
    """One to four drafters of any kind, with settings of any size."""
    grow = {"depth": rng.randrange(1, 6), "width": rng.randrange(1, 4), "gain": 0.0}
    method = rng.choice(
        [
            {"method": "fixed", "skip": [2, 5]},
            {"method": "swift", "window": 8, "budget": 40.0},
            {"method": "clasp", "refresh": rng.randrange(1, 4), "unit": rng.choice(["part", "layer"])},
        ]
    )
    match = rng.choice(["auto", "strings", "intersection"]) if foreign else rng.choice(["auto", "tokens"])
    model = {"model": SMALL.model_dump(), "match": match, **grow}
    generators = [{"view": {"name": "rag", **grow}}, {"draft_model": model}]
    if kind == "llama":
        generators.append({"self": {**method, **grow}})
    fusion = {
        "retrieve": rng.sample(["prompt_lookup", "datastore", "recycling"], rng.randrange(1, 4)),
        "generate": rng.choice(generators),
        "extend": rng.random() < 0.5,
        "retrieved": rng.randrange(1, 20),
        "drafted": rng.randrange(1, 20),
    }
    known = [
        lambda: PromptLookup(PromptLookupSettings()),
        lambda: Recycling(RecyclingSettings(scope=rng.choice(["request", "process"]))),
        lambda: Ngram(NgramSettings(stochastic=rng.random() < 0.5)),
        lambda: Lookahead(LookaheadSettings(level=rng.randrange(2, 5), window=rng.randrange(1, 6))),
        lambda: Datastore(DatastoreSettings(shortest=1, answers=rng.choice(["off", "session"]))),
        lambda: TreeDrafter(guesses, rng.randrange(99), end),
        lambda: ViewDrafter(ViewDrafterSettings(name=rng.choice(["rag", "without_context"]), **grow)),
        lambda: DraftModel(DraftModelSettings.model_validate(model)),
        lambda: Rasd(RasdSettings.model_validate(fusion)),
    ]
    if kind == "llama":
        known.append(lambda: SelfSpeculation(SelfSpeculationSettings(**method, **grow)))
        if LIGHT:
            known.append(lambda: Quantized(QuantizedSettings(**grow)))
    return [make() for make in rng.sample(known, rng.randrange(1, 5))]


def scene(rng: random.Random, name: str, rules: dict[str, list], *, foreign: bool) -> Request:
    """A request of any kind, without drafts."""
    longest = rng.choice([1, 2, 9, 30])
    length = rng.choice([1, 5, 33, WINDOW - longest])
    own = prompt(rng.randrange(3), length)
    if rng.random() < 0.3:
        own = (prompt(rng.randrange(3), 7) * WINDOW)[:length]
    rag = prompt(rng.randrange(3), rng.choice([1, 20, WINDOW - longest]))
    other = [token % OTHER for token in own] if foreign else own
    which = rng.choice(list(rules))
    overrides = [{}, {"sampling.temperature": 0.9}, {"sampling.repetition_penalty": 1.3}]
    if which == "cad":
        overrides.append({"cad.alpha": 0.2})

    def retrieve(query):
        fresh = random.Random(length)
        return {
            "with_context": View(prompt(fresh.randrange(3), fresh.choice([4, WINDOW - longest]))),
            "rag": View(prompt(fresh.randrange(3), 12)),
        }

    constraints = []
    if rng.random() < 0.3:
        constraints.append(Ban(BanSettings(tokens=tuple(rng.sample(range(VOCAB), 30)))))
    if rng.random() < 0.3 and longest > 4:
        constraints.append(Require(RequireSettings(phrases=("ab",))))
    how = Sampling(
        temperature=rng.choice([0.0, 0.7, 1.0]),
        seed=rng.randrange(9),
        top_k=rng.choice([0, 3]),
        repetition_penalty=rng.choice([1.0, 1.2]),
    )
    return Request(
        name,
        {
            "with_context": View(own),
            "without_context": View(prompt(rng.randrange(9), 6)),
            "rag": View(rag, model=rng.choice(["main", "small"])),
            "draft_model": View(other, model="foreign" if foreign else "small", role="draft"),
        },
        rules=rules[which],
        constraints=constraints,
        monitors=[Chaos(rng.randrange(99), overrides)] if rng.random() < 0.5 else [],
        retrieve=retrieve,
        tokenize=spelt,
        sampling=how,
        max_new_tokens=longest,
        end_tokens=frozenset(rng.sample(range(VOCAB), rng.choice([0, 1, 6]))),
        resources={"datastore": store()},
        vocabularies=vocabularies() if foreign else {},
    )


def finished(engine: Engine, requests: list[Request], cancelled: dict[str, int]) -> dict:
    """Results by id; some are cancelled after so many steps."""
    for item in requests:
        engine.submit(item)
    found, steps = {}, 0
    while engine.busy:
        for name in [name for name, when in cancelled.items() if when == steps]:
            engine.cancel(name)
        for event in engine.step():
            error = getattr(event, "error", None)
            if error is not None:
                raise error
            if isinstance(event, DoneEvent):
                found[event.request] = event.result
        steps += 1
    return found


@pytest.mark.parametrize("kind", ["llama", "transformers"])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_mix_gives_the_tokens_of_the_undrafted_run(kind, seed):
    rng = random.Random(seed)
    foreign = rng.random() < 0.4
    models = backends(kind)
    rules = {
        "plain": [],
        "cad": [Cad(CadSettings(alpha=0.5))],
        "transfer": [Transfer(TransferSettings.model_validate({"from": "rag", "eta": 5.0}))],
    }
    scenes = [scene(rng, f"r{i}", rules, foreign=foreign) for i in range(5)]
    settings = {"foreign": ["foreign"]}
    plain = finished(Engine(models, **settings), scenes, {})
    guesses = [token for result in plain.values() for token in result.tokens]
    shared = drafters(rng, kind, guesses, None, foreign=foreign)
    drafted = []
    for item in scenes:
        end = next(iter(item.end_tokens), None)
        guesses = plain[item.id].tokens
        mine = shared if rng.random() < 0.5 else drafters(rng, kind, guesses, end, foreign=foreign)
        if rng.random() < 0.4:
            mine = [*(part for part in mine if part.part_name != "trees"), TreeDrafter(guesses, rng.randrange(99), end)]
        drafted.append(replace(item, drafters=mine, max_draft_nodes=rng.choice([1, 2, 3, 8, 24, 40])))
    costs = StepCosts({"main": FLAT})
    governor = rng.choice([FixedTree, lambda: Throughput(costs), lambda: Bandit(costs)])()
    engine = Engine(
        models,
        max_batch=rng.choice([1, 2, 5]),
        prefill_tokens=rng.choice([1, 7, 40, 500]),
        prefix_bytes=rng.choice([0, 40, 100, 10**4]) * models["main"].token_bytes,
        governor=governor,
        **settings,
    )
    for turn in range(3):  # what was learnt, and what is cached, meets the same requests again
        cancelled = {} if turn != 1 else {item.id: rng.randrange(1, 9) for item in rng.sample(drafted, 2)}
        rng.shuffle(drafted)
        found = finished(engine, drafted, cancelled)
        for name, result in plain.items():
            got = found[name]
            if got.finish_reason == "cancelled" and name in cancelled:
                continue
            assert got.tokens == result.tokens, (turn, name)
            assert got.finish_reason == result.finish_reason
            wanted = [record.logprob for record in result.records]
            assert [record.logprob for record in got.records] == pytest.approx(wanted, abs=1e-8)
