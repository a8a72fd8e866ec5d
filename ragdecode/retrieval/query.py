"""What is asked of the retrieval chain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """A question.

    Attributes:
        text: The question as asked.
        history: Earlier turns as (role, text), oldest first; for stages that rewrite the question.
    """

    text: str
    history: tuple[tuple[str, str], ...] = ()
