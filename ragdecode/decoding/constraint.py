"""The contract of constraints: forbid tokens, by a state that is carried down every path of the draft tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class ConstraintSession(ABC):
    """A constraint at work for one request. States are values: advancing one leaves it as it was.

    A state is only ever advanced by a token that its mask allows: drafts that a constraint forbids are not fed.
    """

    @abstractmethod
    def start(self) -> Any:
        """State before the first token."""

    @abstractmethod
    def advance(self, state: Any, token: int) -> Any:
        """State after a token."""

    @abstractmethod
    def mask(self, state: Any) -> torch.Tensor | None:
        """Forbidden tokens, bool ``[V]`` on the CPU; None forbids nothing. All forbidden ends the answer."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of how it acts on the request."""
        return ()

    def retrieved(self, passages: Sequence[tuple[str, str]]) -> None:  # noqa: B027
        """The evidence has changed in the middle of the answer: pairs of id and text. States stay what they are."""

    def record(self, text: str) -> Any:
        """What it has to tell of a finished answer, as plain data; None if nothing."""
        return None


class Constraint(ABC):
    """A constraint as declared; makes a session a request.

    Attributes:
        spells: Whether it wants `Request.vocabulary`, the tokens as bytes.
        unmixable: Other constraints that it cannot act beside, by name, and why.
    """

    part_name: ClassVar[str] = ""
    spells: ClassVar[bool] = False
    unmixable: ClassVar[Mapping[str, str]] = {}

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    @abstractmethod
    def start(self, request: Request, vocab_size: int) -> ConstraintSession:
        """Begin to constrain a request over a vocabulary of V tokens.

        Raises:
            InputError: The settings cannot be met for this request.
        """
