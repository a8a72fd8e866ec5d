"""Small engines over tiny random models, and requests for them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.request import Request, Result, View
from ragdecode.spec.settings import NoSettings
from tests.decoding.tiny_models import tiny

VOCAB = 97


@cache
def model(family: str = "llama", seed: int = 0):
    return tiny(family, vocab_size=VOCAB, seed=seed)


def backend(family: str = "llama", seed: int = 0) -> LlamaBackend:
    stock = model(family, seed)
    return LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=torch.float64)


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, VOCAB) for _ in range(length)]


def request(name: str, views: Mapping[str, Sequence[int]], **settings) -> Request:
    return Request(name, {view: View(ids) for view, ids in views.items()}, **settings)


def decode(engine: Engine, *requests: Request) -> dict[str, Result]:
    return {event.request: event.result for event in engine.run(requests) if isinstance(event, DoneEvent)}


class TreeDrafter(Drafter):
    """Proposes random trees around a known answer: right, wrong, out of the vocabulary, ends everywhere."""

    part_name = "trees"

    def __init__(self, answer: Sequence[int], seed: int, end: int | None = None) -> None:
        super().__init__(NoSettings())
        self.answer, self.seed, self.end = list(answer), seed, end

    def start(self, request: Request) -> DraftSession:
        return _TreeSession(self)


class _TreeSession(DraftSession):
    def __init__(self, parent: TreeDrafter) -> None:
        self.parent, self.at, self.rng = parent, 0, random.Random(parent.seed)

    def propose(self, nodes: int) -> Draft:
        rng, tokens, parents = self.rng, [], []
        last = -1
        for token in self.parent.answer[self.at : self.at + rng.randrange(nodes + 1)]:
            for _ in range(rng.randrange(3)):  # siblings, some invalid
                tokens.append(rng.choice([rng.randrange(VOCAB), VOCAB + 5, -3, self.parent.end or 0]))
                parents.append(rng.choice([last, rng.randrange(-1, len(tokens) - 1) if len(tokens) > 1 else -1]))
            tokens.append(token)
            parents.append(last)
            last = len(tokens) - 1
        return Draft(tokens, parents, [rng.random() for _ in tokens])

    def observe(self, verified) -> None:
        self.at += len(verified.committed)

    def rewind(self, length: int) -> None:
        self.at = length
