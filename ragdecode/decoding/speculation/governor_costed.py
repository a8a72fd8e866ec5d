"""What governors that know the cost of a step have in common: choosing nodes over a batch, and the account."""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Sequence

from ragdecode.decoding.speculation.governor import Governor, Slot
from ragdecode.decoding.speculation.ledger import Ledger
from ragdecode.decoding.speculation.step_cost import StepCosts


class CostedGovernor(Governor):
    """Weighs what a node may gain against what it costs, and never spends more than two accounts hold.

    One account is the engine's, one is each answer's; see `Ledger` for what they promise. All seconds are those of
    the table. What drafters take is measured as they are asked, and put into proportion by how long passes take at
    the time, for the machine may be busier or idler than it was when the table was made.

    Args:
        costs: Calibrated seconds of a step.
    """

    def __init__(self, costs: StepCosts) -> None:
        super().__init__()
        self.costs = costs
        self.ledger: Ledger | None = None
        self._pace: float | None = None  # measured seconds of a pass over those of the table, a running mean

    @abstractmethod
    def learn(self, slots: Sequence[Slot], worth: float, spent: float) -> None:
        """What came of a step of these slots: seconds that its tokens were worth, and those it took."""

    def seconds(self, slots: Sequence[Slot], sizes: Sequence[int]) -> float:
        """Calibrated seconds of a step with trees of these sizes, roots included."""
        return self.costs.seconds([load for slot, size in zip(slots, sizes, strict=True) for load in slot.load(size)])

    def plain(self, slots: Sequence[Slot]) -> float:
        """Seconds of the step without drafts."""
        return self.seconds(slots, [1] * len(slots))

    def left(self, slots: Sequence[Slot], slot: Slot | None = None) -> float:
        """Seconds that may still be lost in this step, by all slots together or by one of them.

        What was set aside for feeding what was asked for stays, also if the asking took longer than it was to: a
        draft that is there and not fed is all loss.
        """
        if slot is None:
            if self.ledger is None:
                self.ledger = Ledger(self.plain(slots))
            left, reserved = self.ledger.left, sum(one.reserved for one in slots)
            left -= sum(self.asked(one) for one in slots)
            return max(left, reserved) if reserved else left
        if slot.ledger is None:
            slot.ledger = Ledger(self.plain(slots) / len(slots))
        left = slot.ledger.left - self.asked(slot)
        return max(left, slot.reserved) if slot.reserved else left

    def asked(self, slot: Slot, name: str | None = None) -> float:
        """What asking took in this step, one drafter or all of them, in seconds of the table.

        What merging and governing took besides is shared by those that were asked; it is lost where nobody was.
        """
        if name is None:
            seconds = sum(slot.asked.values()) + slot.handling
        else:
            seconds = slot.asked[name] + slot.handling / len(slot.asked)
        return seconds / (self._pace or 1.0)

    def fill(
        self,
        slots: Sequence[Slot],
        price: float,
        *,
        limits: Sequence[int] | None = None,
        bonus: Sequence[float] | None = None,
    ) -> list[list[int]]:
        """The nodes to feed in each slot, roots left out.

        Nodes are taken over all slots by expected gain for each row that they are fed to, and of all prefixes of
        that order the best is kept by ``sum of scores - price x (seconds - seconds of the plain step)``.

        Args:
            slots: The requests of the step.
            price: Tokens that a second is worth; 0 takes all that the accounts and limits allow.
            limits: Largest trees, if smaller than the slots' own, root included.
            bonus: For each slot, tokens that its drafts that are wanted as a whole are worth besides their scores.
        """
        kept, net = self._scan(slots, price, limits, None)
        if any(slot.trie is not None and slot.trie.whole for slot in slots):
            more, better = self._scan(slots, price, limits, bonus or [0.0] * len(slots))
            if better > net:
                return more
        return kept

    def _scan(
        self,
        slots: Sequence[Slot],
        price: float,
        limits: Sequence[int] | None,
        bonus: Sequence[float] | None,
    ) -> tuple[list[list[int]], float]:
        """Walk down the merged order; with ``bonus``, what is wanted as a whole is in from the start."""
        most = [slot.nodes if limits is None else min(slot.nodes, limits[i]) for i, slot in enumerate(slots)]
        orders = [[] if slot.trie is None else slot.trie.order(whole=bonus is not None) for slot in slots]
        sizes = [slot.drawn for slot in slots]
        plain = self.seconds(slots, sizes)
        allowed = self.left(slots)
        own = [self.left(slots, slot) for slot in slots]
        taken, value = [0] * len(slots), 0.0
        if bonus is not None:
            for i, slot in enumerate(slots):
                if slot.trie is not None and slot.trie.whole:
                    taken[i] = min(slot.trie.whole, most[i] - 1)
                    value += bonus[i] + sum(slot.trie.scores[node] for node in orders[i][: taken[i]])
                    sizes[i] += taken[i]
            if self.seconds(slots, sizes) - plain > allowed:
                return [[] for _ in slots], float("-inf")
        best, net = list(taken), value - price * (self.seconds(slots, sizes) - plain)
        streams = []
        for i, slot in enumerate(slots):
            if slot.trie is not None:
                scores, rows = slot.trie.scores, max(1, len(slot.rows))
                streams.append([(-scores[node] / rows, i, scores[node]) for node in orders[i][taken[i] : most[i] - 1]])
        closed: set[int] = set()
        for _, i, score in heapq.merge(*streams, key=lambda entry: entry[:2]):
            if i in closed:
                continue
            sizes[i] += 1
            extra = self.seconds(slots, sizes) - plain
            if extra > allowed:
                break
            added = [(size - slot.drawn) * len(slot.rows) for size, slot in zip(sizes, slots, strict=True)]
            if extra * added[i] > own[i] * sum(added):
                sizes[i] -= 1
                closed.add(i)
                continue
            taken[i] += 1
            value += score
            if value - price * extra > net:
                best, net = list(taken), value - price * extra
        return [order[:count] for order, count in zip(orders, best, strict=True)], net

    def settle(self, slots: Sequence[Slot], seconds: float | None = None) -> None:
        """Book the step, then learn from it. A request whose own parts failed is left out."""
        slots = [slot for slot in slots if slot.told]
        if not any(slot.nodes > 1 for slot in slots):
            return
        plain = self.plain(slots)
        share = plain / len(slots)
        sizes = [slot.drawn + len(slot.kept) for slot in slots]
        extra = self.seconds(slots, sizes) - plain
        added = [(size - 1) * len(slot.rows) for size, slot in zip(sizes, slots, strict=True)]
        asked = [self.asked(slot) for slot in slots]
        if seconds is not None:
            pace = seconds / (plain + extra)
            # one slow moment of the machine says little
            self._pace = pace if self._pace is None else self._pace + 0.1 * (min(pace, 2 * self._pace) - self._pace)
        worth = [(1 + len(slot.accepted)) * share for slot in slots]
        self.left(slots)  # makes the account
        assert self.ledger is not None
        self.ledger.book(sum(worth), plain + extra + sum(asked), plain)
        for i, slot in enumerate(slots):
            self.left(slots, slot)
            assert slot.ledger is not None
            mine = extra * added[i] / sum(added) if added[i] else 0.0
            slot.ledger.book(worth[i], share + mine + asked[i], share)
        self.learn(slots, sum(worth), plain + extra + sum(asked))
