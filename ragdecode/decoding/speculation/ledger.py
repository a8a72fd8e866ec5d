"""The account of drafting: what it may lose at most."""

from __future__ import annotations

#: Share of the time of undrafted decoding that may be lost in the long run.
SHARE = 0.02
#: Undrafted steps that may be lost on top, to learn in the beginning.
START = 2.0
#: Undrafted steps that past gains can stand for, at most.
MOST = 16.0


class Ledger:
    """Seconds that drafting may still lose.

    It starts with ``start`` undrafted steps, grows by ``share`` of all undrafted time and by what drafting gains,
    and what drafting loses is taken off. Whoever spends no more in a step than there is loses at most
    ``share + start / n`` of the time of n undrafted steps, whatever is accepted: 3 % after 200 tokens, 2 % in the
    long run. Past gains are forgotten beyond ``most`` steps, so that they do not pay for a text that does not copy.

    Args:
        step: Seconds of an undrafted step at the start.
    """

    def __init__(self, step: float, *, share: float = SHARE, start: float = START, most: float = MOST) -> None:
        self._share, self._most = share, most
        self.left = start * step

    def book(self, worth: float, spent: float, step: float) -> None:
        """One step: seconds that its tokens would have taken undrafted, those that it took, those of one such step."""
        self.left = min(self.left + (1 + self._share) * worth - spent, self._most * step)
