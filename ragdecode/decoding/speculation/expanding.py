"""The plain session of a drafter that grows a tree by a view with the target's vocabulary."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.growing import GrowingSession

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.speculation.expansion import Expander


class ExpandingSession(GrowingSession):
    """An expander, and how long the answer is."""

    def __init__(self, expander: Expander) -> None:
        self._expander = expander
        self._generated = 0

    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """The tree that the view's predictions grow."""
        return self._expander.grow(nodes, self._generated, base=base)

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """Estimated acceptance and rank where the view was looked at."""
        return self._expander.judge(draft)

    def observe(self, verified: Verified) -> None:
        """The answer grew."""
        self._generated += len(verified.committed)
        self._expander.observe(verified)

    def rewind(self, length: int) -> None:
        """The answer is shorter again, under other noise."""
        self._generated = length
        self._expander.rewind(length)
