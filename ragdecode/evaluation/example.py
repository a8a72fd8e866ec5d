"""One example of a data set, and what a pipeline made of it: what metrics see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn

#: What a data set may bring besides questions. ``references``: golden answers. ``passages``: evidence of its own.
#: ``originals``: answers that were true before a passage was changed. ``options``: endings to choose between.
#: ``relevant``: grades of documents. ``history``: earlier turns.
Field = Literal["references", "passages", "originals", "options", "relevant", "history"]


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        id: Unique in its data set.
        question: What is asked; the whole prompt where options are to be chosen from.
        references: Golden answers; any of them is right.
        passages: Evidence of its own, best first; None where it brings none.
        originals: Answers that were true before the passages were changed, as in NQ-Swap.
        options: Endings to choose between, as in MemoTrap; the right one is ``correct``.
        correct: Place of the right option; None without options.
        relevant: Grade by document or passage id; at least 1 is relevant. Empty where nobody judged.
        history: Earlier turns, oldest first.
        prompts: Exact prompts by view, where the question is not to be put into the pipeline's own prompt; views that
            the pipeline does not read are left out.
        metadata: Whatever else its data set says of it; goes into the record.
    """

    id: str
    question: str
    references: tuple[str, ...] = ()
    passages: tuple[Passage, ...] | None = None
    originals: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    correct: int | None = None
    relevant: Mapping[str, int] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """An example with its answer.

    Attributes:
        example: The example.
        answer: The answer's text.
        passages: The evidence as the model saw it, best first; texts may be cut.
        sentences: The answer's sentences, as in a record.
        options: Log-probability of each option, in nats; empty where none was asked for.
    """

    example: Example
    answer: str
    passages: Sequence[Passage] = ()
    sentences: Sequence[Mapping[str, Any]] = ()
    options: Sequence[float] = ()
