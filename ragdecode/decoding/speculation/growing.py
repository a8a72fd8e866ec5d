"""The contract of drafters with a distribution: what other drafters can build on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Look
from ragdecode.decoding.speculation.expansion import ExpansionSettings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class GrowingSession(DraftSession):
    """A session whose drafts come from a distribution: it can extend a draft, and judge the tokens of others."""

    def propose(self, nodes: int) -> Generator[Look, torch.Tensor, Draft]:
        """The tree that its own distribution grows."""
        return self.grow(nodes)

    @abstractmethod
    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """Yield looks, return the best tree of at most ``nodes`` nodes.

        A base is a draft of others, in the target's tokens: its nodes are looked at first, its leaves may be
        extended, and its nodes may be part of the result.
        """

    @abstractmethod
    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """What the last ``grow`` knows of a draft's nodes.

        Returns:
            For each node its estimated acceptance, given its parent, and its rank among all tokens there (0 is the
            best); None where the distribution after the parent is not known.
        """


class GrowingDrafter(Drafter):
    """A drafter whose sessions are `GrowingSession`; its settings are `ExpansionSettings`."""

    def __init__(self, settings: ExpansionSettings) -> None:
        super().__init__(settings)
        self.look_nodes = settings.look_nodes
        self.looks = settings.depth
        self.siblings = settings.branch

    @abstractmethod
    def start(self, request: Request) -> GrowingSession:
        """Begin to draft for a request."""
