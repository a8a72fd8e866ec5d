"""One thing to decode without retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn


@dataclass(frozen=True)
class DecodeRequest:
    """One request line; exactly one of ``prompts``, ``question`` and ``messages`` is there.

    Attributes:
        id: Names the request; keys the sampling noise.
        prompts: Exact prompts by view; ``prompt`` is the one of the target view.
        question: A question, asked with the pipeline's own prompt.
        passages: Its evidence, best first.
        messages: A chat as it is.
        line: Where it stands in its file, 1-based; None if it came from code.
    """

    id: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    question: str | None = None
    passages: tuple[Passage, ...] = ()
    messages: tuple[Turn, ...] = ()
    line: int | None = None

    def place(self) -> str:
        """The request in a message: its line, or its id."""
        return f"line {self.line}" if self.line is not None else f"request {self.id!r}"
