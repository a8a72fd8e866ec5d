"""A stand-in for the language model as a writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragdecode.retrieval.generation import Generation


class Recorded:
    """Answers requests as it is told to, and remembers them."""

    def __init__(self, answer: Callable[[Generation], str] | str = "") -> None:
        self.answer = answer
        self.calls: list[list[Generation]] = []

    def __call__(self, asked: Sequence[Generation]) -> list[str]:
        self.calls.append(list(asked))
        return [self.answer if isinstance(self.answer, str) else self.answer(one) for one in asked]

    @property
    def asked(self) -> list[Generation]:
        (call,) = self.calls
        return call


def last(asked: Generation) -> str:
    """What the model is asked in the end."""
    role, text = asked.messages[-1]
    assert role == "user"
    return text
