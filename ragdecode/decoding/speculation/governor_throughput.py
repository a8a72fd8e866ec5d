"""The governor that asks and feeds what pays: expected tokens against calibrated seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragdecode.decoding.speculation.governor import Slot, candidates, credit_of
from ragdecode.decoding.speculation.governor_costed import CostedGovernor
from ragdecode.decoding.speculation.step_cost import StepCosts

#: Steps between probes of what does not pay: at first, and at most once probes keep failing.
PROBE, RARELY = 8, 32
#: Steps after which an old one counts 1/e in the running speed.
MEMORY = 128.0


@dataclass
class Record:
    """What asking a drafter brings and costs, as a running mean.

    Attributes:
        gain: Tokens that may be expected of an ask.
        seconds: What an ask takes; None before the first.
        each: The same, by node that it came up with; None before the first.
        asks: How often it was asked, old asks counting less.
        wait: Asks to leave out until the next trial, where it does not pay.
        pause: How many were left out before.
    """

    gain: float = 1.0
    seconds: float | None = None
    each: float | None = None
    asks: float = 2.0
    wait: int = 0
    pause: int = 1

    def add(self, gain: float, seconds: float, proposed: int) -> None:
        """One more ask, that came up with so many nodes."""
        self.asks = min(self.asks + 1, 16.0)
        self.gain += (gain - self.gain) / self.asks
        if proposed:
            each = seconds / proposed
            self.each = each if self.each is None else self.each + (each - self.each) / self.asks
        self.seconds = seconds if self.seconds is None else self.seconds + (seconds - self.seconds) / self.asks

    def due(self) -> bool:
        """Whether to ask although it does not pay: ever more rarely."""
        self.wait -= 1
        if self.wait >= 0:
            return False
        self.pause = min(2 * self.pause, RARELY)
        self.wait = self.pause
        return True


class Throughput(CostedGovernor):
    """Maximises tokens per second over the run.

    A node is fed while its expected tokens are worth more than its seconds, and a drafter is asked while what it
    brings is. What a second is worth is the speed reached so far: the most of ``tokens - speed x seconds`` over
    steps is where the ratio of the sums is largest (renewal reward; Dinkelbach 1967), while the best ratio of each
    step alone would stop too early in good steps. At the start it is the speed without drafts.

    Drafters that look at views are asked after the others, if they bring enough on top of what those found: their
    gain is counted apart by how much that was.

    What does not pay is tried rarely, so that it can recover: drafters are asked again after growing pauses, and a
    node that looks least hopeless for its few trials is fed every 8 to 32 steps. All of it within the accounts.
    """

    def __init__(self, costs: StepCosts) -> None:
        super().__init__(costs)
        self._records: dict[tuple[str, int], dict[int, Record]] = {}  # by drafter and rows that it looks at
        self._levels: dict[int, int] = {}
        self._tokens = self._undrafted = 8.0  # in undrafted steps: time that the tokens were worth, and that they took

    @property
    def speed(self) -> float:
        """Speed reached lately, over that without drafts; at least 1."""
        return max(1.0, self._tokens / self._undrafted)

    def ask(self, slots: Sequence[Slot], *, paid: bool) -> list[list[str]]:
        """Those whose expected tokens are worth their seconds, and now and then another."""
        names = [candidates(slot, paid=paid) for slot in slots]
        if not any(names):
            return names
        price = self._price(slots)
        self._levels = {}
        if paid:
            for slot, kept in zip(slots, self.fill(slots, price), strict=True):
                expected = sum(slot.trie.scores[node] for node in kept) if slot.trie is not None else 0.0
                self._levels[id(slot)] = min(3, int(2 * expected))
        allowed = self.left(slots)
        asked: list[list[str]] = []
        for slot, options in zip(slots, names, strict=True):
            own = self.left(slots, slot)
            asked.append([])
            if slot.draws:
                asked[-1] += options
                continue
            for name in options:
                record = self._record(name, slot)
                room, seconds, feeding = self._room(slots, slot, name, min(allowed, own))
                if room < 1 or seconds > min(allowed, own):
                    continue
                if record.gain >= price * (seconds if record.seconds is None else record.seconds):
                    record.wait, record.pause = 0, 1
                elif not record.due():
                    continue
                asked[-1].append(name)
                if slot.drafters[name] is not None:
                    slot.rooms[name] = room
                    slot.reserved += feeding
                allowed, own = allowed - seconds, own - seconds
        return asked

    def choose(self, slots: Sequence[Slot]) -> None:
        """The nodes that pay, and a probe where one is due."""
        bonus = [
            max((self._record(name, slot).gain for name in slot.asked), default=0.0) if slot.trie else 0.0
            for slot in slots
        ]
        for slot, kept in zip(slots, self.fill(slots, self._price(slots), bonus=bonus), strict=True):
            slot.kept = kept
        for slot in slots:
            self._probe(slots, slot)

    def learn(self, slots: Sequence[Slot], worth: float, spent: float) -> None:
        """Update the speed, and what asks bring."""
        keep, plain = 1 - 1 / MEMORY, self.plain(slots)
        self._tokens = self._tokens * keep + worth / plain
        self._undrafted = self._undrafted * keep + spent / plain
        for slot in slots:
            if slot.draws:
                continue
            gains = credit_of(slot, slot.kept)
            for name in slot.asked:
                proposed = slot.proposed.get(name, slot.nodes - 1)
                if proposed or slot.drafters.get(name) is None:  # a view that is not read yet tells nothing
                    self._record(name, slot).add(gains.get(name, 0.0), self.asked(slot, name), proposed)
            if slot.probe is not None:
                period = PROBE if slot.probe in slot.accepted else min(2 * slot.rest[1], RARELY)
                slot.rest = [period, period]

    def _price(self, slots: Sequence[Slot]) -> float:
        """Tokens that a second is worth."""
        return self.speed * len(slots) / self.plain(slots)

    def _seconds(self, name: str, slot: Slot) -> float:
        """What an ask of a drafter that looks at nothing takes, as measured; nothing before the first."""
        return max((one.seconds for one in self._known(name, slot).values() if one.seconds is not None), default=0.0)

    def _room(self, slots: Sequence[Slot], slot: Slot, name: str, allowed: float) -> tuple[int, float, float]:
        """Nodes that a drafter may come up with, what asking for them and feeding them takes, and the feeding alone.

        While the accounts are low, looks are taken one or two at a time.
        """
        room = slot.nodes - 1
        if slot.drafters[name] is None:
            return room, self._seconds(name, slot), 0.0
        sizes = [one.nodes if one is slot else 1 for one in slots]
        feeding = (self.seconds(slots, sizes) - self.plain(slots)) / room
        each = self._each(slot, name) + feeding
        room = max(0, min(room, int(allowed / each)))
        return room, each * room, feeding * room

    def _each(self, slot: Slot, name: str) -> float:
        """What an ask takes by node that it has room for; before the first, a look by the table, or nothing."""
        measured = [one.each for one in self._known(name, slot).values() if one.each is not None]
        if measured:
            return max(measured)
        look = slot.drafters[name]
        return 0.0 if look is None else self.costs.seconds(look.load(2))

    def _known(self, name: str, slot: Slot) -> dict[int, Record]:
        """What asks of a drafter brought and took, where it looks at as many rows as here."""
        look = slot.drafters.get(name)
        return self._records.setdefault((name, 0 if look is None else len(look.held)), {})

    def _record(self, name: str, slot: Slot) -> Record:
        level = self._levels.get(id(slot), 0) if slot.drafters.get(name) is not None else 0
        return self._known(name, slot).setdefault(level, Record())

    def _probe(self, slots: Sequence[Slot], slot: Slot) -> None:
        """Feed one more node now and then, the most promising of those that were left out."""
        if slot.trie is None or len(slot.kept) + 1 >= slot.nodes or len(slot.kept) + 1 >= len(slot.trie):
            return
        if not slot.rest:
            slot.rest = [PROBE, PROBE]
        slot.rest[0] -= 1
        if slot.rest[0] > 0:
            return
        trie, acceptance = slot.trie, slot.acceptance
        node = max(trie.grows(slot.kept), key=lambda grown: (trie.promise(grown, acceptance), -grown))
        slot.kept.append(node)
        extra = self.seconds(slots, [one.drawn + len(one.kept) for one in slots]) - self.plain(slots)
        rows = sum(len(one.kept) * len(one.rows) for one in slots)
        share = len(slot.kept) * len(slot.rows) / rows
        if extra > self.left(slots) or extra * share > self.left(slots, slot):
            slot.kept.pop()
        else:
            slot.probe = node
