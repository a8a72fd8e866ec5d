"""What a view changes inside the model: heads that are switched off, or an early exit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HeadMask:
    """Query heads that are switched off for the tokens of a row.

    Attributes:
        heads: Pairs of layer and query head, both counted from 0.
        how: ``zero``: the head's output is 0. ``uniform``: the head attends to all that it sees alike, as if its query
            were 0.
        prompt: Whether the prompt is read so too. If not, all of it but its last token is read by the whole model,
            and shared with rows that do so.
    """

    heads: frozenset[tuple[int, int]]
    how: Literal["zero", "uniform"] = "zero"
    prompt: bool = False


@dataclass(frozen=True)
class EarlyExit:
    """The prediction of an early layer of the target: a projection of its state, no row of its own.

    Attributes:
        layer: The last block that runs, counted from 0.
    """

    layer: int


Intervention = HeadMask | EarlyExit


@dataclass(frozen=True)
class Evidence:
    """Where a view's prompt shows a passage.

    Attributes:
        start: Its first token.
        stop: One beyond its last.
        passage: Which passage, counted from 0 in the order of the request's passages.
        score: The retriever's score; 0 where there is none.
    """

    start: int
    stop: int
    passage: int = 0
    score: float = 0.0
