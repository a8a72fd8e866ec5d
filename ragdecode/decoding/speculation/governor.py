"""The contract of governors: how much to draft in a step, and whom to ask. They can change speed only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ragdecode.decoding.speculation.acceptance import Acceptance, AnswerAcceptance
from ragdecode.decoding.speculation.fusion import Trie
from ragdecode.decoding.speculation.ledger import Ledger
from ragdecode.decoding.tree import Tree

#: One row of a step: key of its model, tokens it holds.
Loaded = tuple[str, int]


class Looked(NamedTuple):
    """What the looks of a drafter run.

    Attributes:
        model: Key of the model.
        held: Tokens that each of the rows holds.
        nodes: New tokens of the largest look, in each row.
    """

    model: str
    held: tuple[int, ...]
    nodes: int

    def load(self, new: int) -> list[tuple[str, int, int]]:
        """What a look at ``new`` nodes feeds: (model, new tokens, cached tokens) of each row."""
        return [(self.model, new, held) for held in self.held]


@dataclass
class Slot:
    """One request as a governor sees it. The first four say who it is, the others are of the current step.

    Attributes:
        drafters: Its drafters in their order; of those that look at views what their looks run, else None.
        acceptance: What its answer took so far.
        ledger: What drafting gained and lost it so far; made by the governor.
        rest: Steps until a probe is due, and how many there are between two; the governor's.
        rows: The verified rows of the step.
        nodes: Largest tree, root included; 1 where nothing can be drafted.
        expand: Candidates that a rule sees at each node, in a pass of their own.
        draws: Whether drafts are tested as drawn: its drafter is asked in every step, and the tree is kept as it was
            proposed. What tests give depends on the draft, which must not depend on the batch or on time.
        trie: What was proposed.
        drawn: Nodes of a tree that is kept as it was proposed, root included.
        rooms: Nodes that a drafter may propose, where that is fewer than all.
        reserved: Seconds that were set aside for feeding what was asked for.
        asked: Seconds that each drafter took that was asked, observing what came of it included.
        handling: Seconds that went into merging drafts and into governing, besides.
        owed: Such seconds that come after the books of a step were closed; they count in the next.
        proposed: Nodes that each of them came up with.
        kept: Nodes of the trie that are fed, without the root.
        accepted: Of those, the ones on the accepted path.
        probe: A fed node that is there to be learnt from.
        told: Whether the step was verified.
    """

    drafters: Mapping[str, Looked | None]
    acceptance: AnswerAcceptance
    ledger: Ledger | None = None
    rest: list[int] = field(default_factory=list)
    rows: Sequence[Loaded] = ()
    nodes: int = 1
    expand: int = 0
    draws: bool = False
    trie: Trie | None = None
    drawn: int = 1
    rooms: dict[str, int] = field(default_factory=dict)
    reserved: float = 0.0
    asked: dict[str, float] = field(default_factory=dict)
    handling: float = 0.0
    owed: float = 0.0
    proposed: dict[str, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    probe: int | None = None
    told: bool = False

    def begin(self, rows: Sequence[Loaded], nodes: int, *, expand: int = 0, draws: bool = False) -> None:
        """Start a step."""
        self.rows, self.nodes, self.expand, self.draws = rows, nodes, expand, draws
        self.trie, self.drawn, self.probe, self.told = None, 1, None, False
        self.rooms, self.asked, self.proposed, self.kept, self.accepted = {}, {}, {}, [], []
        self.reserved, self.handling, self.owed = 0.0, self.owed, 0.0

    def took(self, name: str, seconds: float) -> None:
        """Note time that a drafter took, if it was asked; else the time is nobody's gain."""
        if name in self.asked:
            self.asked[name] += seconds
        else:
            self.handling += seconds

    def observe(self, tree: Tree, path: Sequence[int]) -> None:
        """Count what verification told: the fed tree, and its nodes on the accepted path."""
        self.told = True
        if self.drawn > 1:
            self.accepted = list(path[1:])
        elif self.trie is not None:
            self.accepted = self.trie.observe(tree, path, self.acceptance)

    def load(self, size: int) -> list[tuple[str, int, int]]:
        """What a tree of ``size`` nodes feeds: (model, new tokens, cached tokens) of each row."""
        loads = [(model, size, held) for model, held in self.rows]
        if self.expand and self.rows:
            model, held = self.rows[0]
            loads.append((model, size * self.expand, held + size))
        return loads


class Governor(ABC):
    """Decides for all requests of a step together, which share its passes. Lives as long as its engine.

    A step calls `ask` twice (first for drafters that cost no pass), then `choose`, and after verification `settle`.
    """

    def __init__(self) -> None:
        self.acceptance = Acceptance()

    def slot(self, drafters: Mapping[str, Looked | None]) -> Slot:
        """A new request."""
        return Slot(drafters, AnswerAcceptance(self.acceptance))

    @abstractmethod
    def ask(self, slots: Sequence[Slot], *, paid: bool) -> list[list[str]]:
        """Whom to ask, of the drafters that look at views (``paid``) or of the others; names for each slot."""

    @abstractmethod
    def choose(self, slots: Sequence[Slot]) -> None:
        """Set `Slot.kept` of each slot: nodes of its trie that form a tree with the root."""

    def settle(self, slots: Sequence[Slot], seconds: float | None = None) -> None:  # noqa: B027 - may learn nothing
        """What came of it: `Slot.accepted` is set; and the time that the pass took, unless it read prompts too."""


def candidates(slot: Slot, *, paid: bool) -> list[str]:
    """The drafters that could be asked."""
    if slot.nodes < 2:
        return []
    return [name for name, look in slot.drafters.items() if (look is not None) == paid]


class FixedTree(Governor):
    """No governing: every drafter is asked, and the best nodes that fit are fed, whatever they cost."""

    def ask(self, slots: Sequence[Slot], *, paid: bool) -> list[list[str]]:
        """Everybody."""
        return [candidates(slot, paid=paid) for slot in slots]

    def choose(self, slots: Sequence[Slot]) -> None:
        """The best that fit."""
        for slot in slots:
            if slot.trie is not None:
                slot.kept = slot.trie.order()[: slot.nodes - 1]


def credit_of(slot: Slot, kept: Iterable[int]) -> dict[str, float]:
    """What each source of the kept nodes may expect of them: tokens, shared where several proposed one.

    Those that look at views are asked on top of the others, so that they get nothing for what others found too.
    """
    gains: dict[str, float] = {}
    if slot.trie is not None:
        for node in kept:
            names = slot.trie.sources[node]
            names = tuple(name for name in names if slot.drafters.get(name) is None) or names
            for name in names:
                gains[name] = gains.get(name, 0.0) + slot.trie.scores[node] / len(names)
    return gains
