"""One message of a chat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ragdecode.errors import InputError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """Who said what.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: What was said.
    """

    role: str
    content: str

    @staticmethod
    def of(value: Turn | Mapping[str, Any]) -> Turn:
        """A turn from a mapping with ``role`` and ``content``.

        Raises:
            InputError: It is not that.
        """
        if isinstance(value, Turn):
            return value
        if (
            not isinstance(value, Mapping)
            or value.get("role") not in ROLES
            or not isinstance(value.get("content"), str)
        ):
            raise InputError(
                f"expected a message with role ({', '.join(ROLES)}) and content, found {value!r}",
                hint='{"role": "user", "content": "..."}',
            )
        return Turn(value["role"], value["content"])


def turns(history: Iterable[Turn | Mapping[str, Any]]) -> tuple[Turn, ...]:
    """The history as turns.

    Raises:
        InputError: One of them is no message.
    """
    return tuple(Turn.of(value) for value in history)
