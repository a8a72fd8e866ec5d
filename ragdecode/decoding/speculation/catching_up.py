"""Drafters that are not asked do not observe: they catch up when they are asked again."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, DraftSession, Look, Verified

if TYPE_CHECKING:
    import torch


class CatchingUp(DraftSession):
    """A session that observes the steps in which it was asked at once, and of all others the tokens alone, later.

    Observing takes time, which would be lost on drafters that do not pay. What was predicted in a step that a drafter
    did not draft for is not kept for it: that is a table of the size of the vocabulary for every node.

    Args:
        session: The drafter's own session.
    """

    def __init__(self, session: DraftSession) -> None:
        self._session = session
        self._asked = False
        self._missed: list[int] = []
        self._empty: torch.Tensor | None = None

    def propose(self, nodes: int) -> Draft | Generator[Look, torch.Tensor, Draft]:
        """Catch up, then what the session guesses."""
        self._catch_up()
        self._asked = True
        return self._session.propose(nodes)

    def observe(self, verified: Verified) -> None:
        """Pass it on to a session that was asked; else note the tokens."""
        if self._asked:
            self._asked = False
            self._session.observe(verified)
        else:
            self._missed += verified.committed
            if self._empty is None:
                self._empty = verified.log_probs.new_empty(0, verified.log_probs.shape[-1])

    def rewind(self, length: int) -> None:
        """Catch up, then go back."""
        self._catch_up()
        self._session.rewind(length)

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Catch up, then see the new evidence."""
        self._catch_up()
        self._session.retrieved(prompts)

    def _catch_up(self) -> None:
        if self._empty is not None:
            missed, self._missed, empty, self._empty = self._missed, [], self._empty, None
            self._session.observe(Verified([], [], [], [], [], missed, empty))
