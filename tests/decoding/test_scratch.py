"""Looks of one step that build on one another see what a fresh pass over the whole tree sees."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Look
from ragdecode.decoding.engine import Engine
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, decode, model, prompt, request


class Looking(Drafter):
    """Looks at random trees that grow out of, and fall back on, earlier ones; keeps every answer."""

    part_name = "looking"
    look_nodes = 12

    def __init__(self, view: str, seed: int, kinds) -> None:
        super().__init__(NoSettings())
        self.views, self.seed, self.kinds = (view,), seed, kinds
        self.seen: list[tuple[list[int], Look, torch.Tensor]] = []

    def start(self, request):
        return LookingSession(self)


class LookingSession(DraftSession):
    def __init__(self, parent) -> None:
        self.parent, self.rng, self.answer = parent, random.Random(parent.seed), []

    def propose(self, nodes):
        if not self.answer:
            return Draft()
        return self._looks()

    def _looks(self):
        rng = self.rng
        kept: list[tuple[int, ...]] = []
        for _ in range(5):
            paths = [path for path in kept if rng.random() < 0.7 and all(path[:i] in kept for i in range(1, len(path)))]
            paths = [path for path in paths if all(path[:i] in paths for i in range(1, len(path)))]
            for _ in range(rng.randrange(4)):
                above = rng.choice([(), *paths])
                paths.append((*above, rng.randrange(VOCAB)))
            paths = paths[:12]
            kept = sorted({*kept, *paths}, key=len)
            place = {path: index for index, path in enumerate(paths)}  # a path that stands twice: the later one
            draft = Draft(
                [path[-1] for path in paths],
                [place[path[:-1]] if path[:-1] else -1 for path in paths],
                [1.0] * len(paths),
            )
            if any(parent >= index for index, parent in enumerate(draft.parents)):
                continue
            look = Look(self.parent.views[0], draft, **rng.choice(self.parent.kinds))
            table = yield look
            self.parent.seen.append((list(self.answer), look, table))
        return Draft()

    def observe(self, verified):
        self.answer += verified.committed

    def rewind(self, length):
        del self.answer[length:]


def backend() -> LlamaBackend:
    return LlamaBackend(model().config.to_dict(), model().state_dict(), dtype=torch.float64)


@pytest.mark.parametrize("view", ["with_context", "rag"])
@pytest.mark.parametrize("kinds", [[{}], [{"skip": frozenset({1, 2})}], [{}, {}, {"skip": frozenset({3})}]])
@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_that_of_a_fresh_pass(view, kinds, seed):
    views = {"with_context": prompt(1, 15), "rag": prompt(2, 9)}
    looking = Looking(view, seed, kinds)
    plain = decode(Engine({"main": backend()}), request("a", views, max_new_tokens=8))["a"]
    result = decode(Engine({"main": backend()}), request("a", views, drafters=[looking], max_new_tokens=8))["a"]
    assert result.tokens == plain.tokens
    assert len(looking.seen) > 15
    for answer, look, table in looking.seen:
        fresh = backend()
        text = [*views[view], *answer]
        row = fresh.open_row(len(text) + 20)
        if len(text) > 1:  # what is cached was read with all layers
            fresh.forward([Segment(row, 0, text[:-1], range(len(text) - 1), None, ())])
        parents = [-1, *(parent + 1 for parent in look.draft.parents)]
        depths = [0]
        for parent in parents[1:]:
            depths.append(depths[parent] + 1)
        tokens = [text[-1], *look.draft.tokens]
        segment = Segment(row, len(text) - 1, tokens, depths, parents, range(len(tokens)))
        expected = fresh.forward([segment], skip=look.skip).logits.log_softmax(-1)
        assert table.shape == expected.shape
        assert (table - expected).abs().max() <= 1e-9


def test_a_growing_chain_feeds_every_token_once():
    class Chain(Looking):
        def start(self, request):
            return ChainSession(self)

    class ChainSession(LookingSession):
        def _looks(self):
            tokens: list[int] = []
            for _ in range(6):
                table = yield Look(self.parent.views[0], Draft.chain(tokens))
                tokens = [*tokens, int(table[-1].argmax())]
            return Draft.chain(tokens)

    counted, fed = backend(), []
    forward = counted.forward

    def counting(segments, **options):
        fed.append(sum(len(segment.tokens) for segment in segments))
        return forward(segments, **options)

    counted.forward = counting
    views = {"with_context": prompt(1, 15), "rag": prompt(1, 15)}
    drafters = [Chain("rag", 0, [{}])]
    result = decode(Engine({"main": counted}), request("a", views, drafters=drafters, max_new_tokens=8))["a"]
    assert result.stats.mean_accepted > 3  # the same prompt: everything is right
    assert fed[:2] == [15, 16]  # the target's prompt; then the draft row's with the first token
    assert fed[2:7] == [1] * 5
    assert fed[7] == 7
