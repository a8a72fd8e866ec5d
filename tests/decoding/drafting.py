"""What every drafter that needs no model has to stand: any temperature, batch, rule, rewind and new evidence."""

from __future__ import annotations

from dataclasses import replace

import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve, Rewind
from ragdecode.decoding.request import Sampling, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.speculation.fusion import fuse
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, backend, decode, prompt, request

CAD = [Cad(CadSettings(alpha=0.5))]
SAMPLED = Sampling(temperature=1.0, top_k=3, seed=5)


def accept(session, tokens):
    """Tell a session of accepted tokens, as if nothing had been drafted."""
    session.observe(Verified([], [], [], [], [], tokens, torch.empty(0, VOCAB)))


def paths(draft):
    """The paths from the root to the leaves of a draft."""
    tree = fuse(0, [("p", draft)], nodes=1000, max_depth=1000, vocab_size=10**6, end_tokens=frozenset())
    leaves = set(range(tree.size)) - set(tree.parents)
    return {tuple(tree.path(node)) for node in leaves}


class Wander(Monitor):
    """Rewinds once, asks for new evidence once."""

    part_name = "wander"

    def __init__(self):
        super().__init__(NoSettings())

    def start(self, request):
        return _Wandering()


class _Wandering(MonitorSession):
    def __init__(self):
        self.todo = [(9, Rewind(4, {})), (14, Retrieve("more", to=11))]

    def observe(self, token):
        if self.todo and token.position == self.todo[0][0]:
            return self.todo.pop(0)[1]
        return None

    def rewind(self, length):
        pass

    def record(self):
        return None


def _requests():
    repeated = prompt(3, 6) * 4
    plain = [
        request("a", {"with_context": prompt(1, 30)}, max_new_tokens=24),
        request("b", {"with_context": repeated, "without_context": prompt(2, 5)}, rules=CAD, max_new_tokens=20),
        request("c", {"with_context": [5]}, max_new_tokens=16, end_tokens=frozenset([11, 40])),
        request(
            "d",
            {"with_context": repeated},
            monitors=[Wander()],
            retrieve=lambda query: {"with_context": View(prompt(7, 20))},
            max_new_tokens=20,
        ),
    ]
    return [
        replace(item, id=f"{item.id}{i}", sampling=how) for item in plain for i, how in enumerate((Sampling(), SAMPLED))
    ]


def assert_speed_only(drafter):
    """Tokens equal those without drafts, greedy and sampled, with rules, rewinds, retrieval, in a batch and alone."""
    plain = _requests()
    expected = decode(Engine({"main": backend()}), *plain)
    for nodes in (1, 2, 12):
        drafted = [replace(item, drafters=[drafter], max_draft_nodes=nodes) for item in plain]
        got = decode(Engine({"main": backend()}, max_batch=3, prefill_tokens=32), *drafted)
        for name, result in expected.items():
            assert got[name].tokens == result.tokens, (name, nodes)
            assert got[name].finish_reason == result.finish_reason
    alone = decode(Engine({"main": backend()}), replace(plain[1], drafters=[drafter]))["a1"]
    assert alone.tokens == expected["a1"].tokens


class Loop(Rule):
    """What follows is a function of how long the answer is: it goes round, more or less surely."""

    part_name = "loop"
    views = ()
    tokens = (5, 9, 13, 5, 9, 20, 7)

    def __init__(self, sure: float):
        super().__init__(NoSettings())
        self.sure = sure

    def compose(self, nodes: Nodes) -> torch.Tensor:
        scores = torch.zeros_like(nodes.composed)
        for node in range(scores.shape[0]):
            scores[node, self.tokens[len(nodes.path(node)) % len(self.tokens)]] = self.sure
        return scores


def tokens_per_pass(drafter, *, nodes, sampling=None, sure=9.0, new=120, prompt=(50, 51, 52)):
    """Tokens committed a pass of an answer that goes round, from a prompt that says nothing of it."""
    item = request(
        "loop",
        {"with_context": prompt},
        rules=[Loop(sure)],
        sampling=sampling or Sampling(),
        drafters=[drafter],
        max_draft_nodes=nodes,
        max_new_tokens=new,
    )
    return decode(Engine({"main": backend()}), item)["loop"].stats.mean_accepted
