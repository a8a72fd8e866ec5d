"""Simulated answers: drafters of known skill, a cost table, and a governor in between; no model."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.speculation.fusion import Trie
from ragdecode.decoding.speculation.governor import Governor, Looked, Slot
from ragdecode.decoding.speculation.step_cost import StepCost, StepCosts

VOCAB = 10_000

#: Seconds by new tokens: packed weights on two cores, and a pass whose second token is dear.
FLAT = StepCost((1, 2, 4, 8, 16, 32), (0.0250, 0.0280, 0.0283, 0.0290, 0.0360, 0.0600), (2e-6,) * 6, 0.003)
STEEP = StepCost((1, 2, 4, 8, 16, 32), (0.050, 0.070, 0.075, 0.080, 0.095, 0.140), (4e-6,) * 6, 0.010)


@dataclass
class Speaker:
    """A drafter that proposes a chain; each token is right with the probability of its class.

    Attributes:
        skill: Probability for each class that a guess whose parent is right is right.
        length: Tokens that it proposes.
        seconds: What an ask for the whole chain takes; by token if it looks at a view, else at once.
        look: What it looks at, if it does.
        claim: What it claims of each token, given its parent.
        fresh: Whether every token has a class of its own, so that nothing can be learnt of it.
    """

    skill: Callable[[int, int], float]
    length: int = 8
    seconds: float = 0.0
    look: Looked | None = None
    claim: float = 0.8
    fresh: bool = False
    _count: int = 0

    def draft(self, truth: Sequence[int], at: int, rng: random.Random, room: int) -> Draft:
        tokens, kinds, right = [], [], True
        for depth in range(room):
            self._count += 1
            kind = rng.randrange(3)
            right = right and rng.random() < self.skill(kind, at)
            tokens.append(truth[at + depth] if right else rng.randrange(VOCAB // 2, VOCAB))
            kinds.append(self._count if self.fresh else kind)
        chain = Draft.chain(tokens, self.claim)
        return Draft(chain.tokens, chain.parents, chain.scores, classes=kinds)


@dataclass
class Run:
    """What a simulation came to.

    Attributes:
        sizes: Nodes fed in each step, of all requests together.
        committed: Tokens committed in each step.
        promised: Expected tokens of each step, by the governor's scores.
        spent: Seconds of each step, by the cost table.
        plain: Seconds that each step's tokens are worth undrafted.
        asked: Asks by drafter.
    """

    sizes: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    promised: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)

    def speed(self, start: int = 0, stop: int | None = None) -> float:
        """Speed over that without drafts."""
        return sum(self.plain[start:stop]) / sum(self.spent[start:stop])


def simulate(
    governor: Governor,
    speakers: Mapping[str, Speaker] | Sequence[Mapping[str, Speaker]],
    cost: StepCost,
    *,
    tokens: int,
    nodes: int = 16,
    context: int = 200,
    seed: int = 0,
    slots: Sequence[Slot] | None = None,
) -> Run:
    """Decode ``tokens`` tokens of each request (one request for each mapping) under a governor."""
    rng = random.Random(seed)
    groups = [speakers] if isinstance(speakers, Mapping) else list(speakers)
    truths = [[rng.randrange(VOCAB // 2) for _ in range(tokens + 200)] for _ in groups]
    slots = slots or [governor.slot({name: one.look for name, one in group.items()}) for group in groups]
    at, run, costs = [0] * len(groups), Run(), StepCosts({"main": cost})
    while min(at) < tokens:
        for slot in slots:
            slot.begin([("main", context)], nodes)
        for paid in (False, True):
            for i, names in enumerate(governor.ask(slots, paid=paid)):
                for name in names:
                    slot, one = slots[i], groups[i][name]
                    run.asked[name] = run.asked.get(name, 0) + 1
                    room = min(one.length, slot.rooms.get(name, one.length))
                    slot.asked[name] = one.seconds * room / one.length if one.look else one.seconds
                    slot.proposed[name] = room
                    slot.trie = slot.trie or Trie(0, max_depth=100, vocab_size=VOCAB, end_tokens=frozenset())
                    slot.trie.add(name, one.draft(truths[i], at[i], rng, room))
                    slot.trie.judge(slot.acceptance)
        governor.choose(slots)
        committed, loads, promised = 0, [], 0.0
        for i, slot in enumerate(slots):
            new = 1
            if slot.trie is not None:
                assert len(slot.kept) < nodes
                tree = slot.trie.cut(slot.kept)
                promised += sum(slot.trie.scores[node] for node in slot.kept)
                path = [0]
                while (node := tree.children[path[-1]].get(truths[i][at[i] + len(path) - 1])) is not None:
                    path.append(node)
                slot.observe(tree, path)
                new = len(path)
                loads += slot.load(tree.size)
            else:
                slot.told = True
                loads += slot.load(1)
            at[i] = min(at[i] + new, tokens)
            committed += new
        seconds = costs.seconds(loads) + sum(sum(slot.asked.values()) for slot in slots)
        alone = costs.seconds([load for slot in slots for load in slot.load(1)]) / len(slots)
        run.sizes.append(sum(load[1] for load in loads))
        run.committed.append(committed)
        run.promised.append(len(slots) + promised)
        run.spent.append(seconds)
        run.plain.append(committed * alone)
        governor.settle(slots)
    return run
