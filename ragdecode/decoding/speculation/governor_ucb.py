"""The governor that learns by playing: which drafters and which size, as arms of a bandit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragdecode.decoding.speculation.governor import Slot, candidates
from ragdecode.decoding.speculation.governor_costed import CostedGovernor
from ragdecode.decoding.speculation.step_cost import StepCosts

#: Drafters that are asked, and the largest tree, root included.
Arm = tuple[tuple[str, ...], int]

#: Decoding without drafts.
NONE: Arm = ((), 1)


class Bandit(CostedGovernor):
    """UCBSpec of BanditSpec (arXiv 2505.15141), with the reward that matters and older rewards counting less.

    Arms are: no drafts, and each drafter alone or all together with trees of 2, 4, 8, ... nodes. One arm is played
    in a step, by all its requests. The reward is speed, by calibrated seconds: how long the committed tokens would
    have taken undrafted, over how long they took. The published one is the number of committed tokens, which counts
    a pass over one node and one over sixteen as equal.

    The arm with the highest upper confidence bound is played, by UCB1-Tuned (Auer et al. 2002) on discounted sums
    (Garivier and Moulines 2011), because answers change between prose and quotation; the constants of the paper are
    not known to us. An arm that could lose more than the accounts hold is passed over.

    Args:
        costs: Calibrated seconds of a step.
        memory: Steps after which an old reward counts 1/e.
    """

    def __init__(self, costs: StepCosts, memory: float = 512.0) -> None:
        super().__init__(costs)
        self._keep = 1 - 1 / memory
        self._plays: dict[Arm, float] = {}
        self._sums: dict[Arm, tuple[float, float]] = {}  # rewards, their squares
        self.arm = NONE

    def ask(self, slots: Sequence[Slot], *, paid: bool) -> list[list[str]]:
        """The drafters of the arm; it is drawn before the first are asked."""
        if not paid:
            self.arm = self._best(slots)
        return [[name for name in candidates(slot, paid=paid) if slot.draws or name in self.arm[0]] for slot in slots]

    def choose(self, slots: Sequence[Slot]) -> None:
        """The best nodes that the arm's size and the accounts allow."""
        for slot, kept in zip(slots, self.fill(slots, 0.0, limits=[self.arm[1]] * len(slots)), strict=True):
            slot.kept = kept

    def learn(self, slots: Sequence[Slot], worth: float, spent: float) -> None:
        """Add the reward to the arm that was played."""
        if not any(slot.nodes > 1 for slot in slots):
            return  # nothing could be drafted: no arm's merit
        for arm in self._plays:
            self._plays[arm] *= self._keep
            total, squares = self._sums[arm]
            self._sums[arm] = total * self._keep, squares * self._keep
        reward = worth / spent
        total, squares = self._sums.get(self.arm, (0.0, 0.0))
        self._plays[self.arm] = self._plays.get(self.arm, 0.0) + 1
        self._sums[self.arm] = total + reward, squares + reward * reward

    def arms(self, slots: Sequence[Slot]) -> list[Arm]:
        """What could be played in a step of these requests."""
        names = list(dict.fromkeys(name for slot in slots if slot.nodes > 1 for name in slot.drafters))
        if not names:
            return [NONE]
        most = max(slot.nodes for slot in slots)
        sizes = [2**power for power in range(1, most.bit_length()) if 2**power < most] + [most]
        groups = [(name,) for name in names] + ([tuple(names)] if len(names) > 1 else [])
        return [NONE, *((group, size) for group in groups for size in sizes)]

    def _best(self, slots: Sequence[Slot]) -> Arm:
        plain, allowed = self.plain(slots), self.left(slots)
        own = min((self.left(slots, slot) for slot in slots), default=0.0)
        total = sum(self._plays.values())

        def bound(arm: Arm) -> float:
            if arm == NONE:
                return 1.0  # by the definition of the reward
            plays = self._plays.get(arm, 0.0)
            if plays < 0.05:
                return math.inf
            most = arm[1] * plain / self._seconds(slots, arm, plain)  # all of the tree on one path
            rewards, squares = self._sums[arm]
            mean = rewards / plays
            log = math.log(max(total, 2.0)) / plays
            spread = max(0.0, squares / plays - mean * mean) + most * most * math.sqrt(2 * log)
            return mean + math.sqrt(log * min(most * most / 4, spread))

        best, highest = NONE, 1.0
        for arm in self.arms(slots):
            extra = self._seconds(slots, arm, plain) - plain
            if arm != NONE and (extra > allowed or extra > own * len(slots)):
                continue
            if (value := bound(arm)) > highest:
                best, highest = arm, value
        return best

    def _seconds(self, slots: Sequence[Slot], arm: Arm, plain: float) -> float:
        """Most seconds of a step that plays an arm, what its drafters take left out but for the first looks."""
        names, size = arm
        looks = [
            load
            for slot in slots
            if slot.nodes > 1
            for name, look in slot.drafters.items()
            if look is not None and name in names
            for load in look.load(look.nodes + 1)
        ]
        trees = self.seconds(slots, [min(size, slot.nodes) for slot in slots])
        return max(plain, trees + self.costs.seconds(looks))
