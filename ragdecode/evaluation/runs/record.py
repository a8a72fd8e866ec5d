"""One line of ``predictions.jsonl``: a sample that a pipeline has answered, or failed to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from ragdecode.pipeline.plain_json import plain_json

#: Why a sample has no answer. ``deadline``: it took too long. ``input``: it cannot be asked, such as a question that
#: does not fit the window. ``run``: memory, disk, weights. ``part``: a part of the pipeline, or a bug.
FailureKind = Literal["deadline", "input", "run", "part"]


@dataclass(frozen=True)
class Cell:
    """A place of the matrix: one pipeline under one choice of settings and one seed, over one data set.

    Attributes:
        pipeline: Name of the pipeline in this run.
        dataset: Name of the data set.
        settings: What the sweep has chosen here, by dotted path; empty where nothing is swept.
        seed: Seed of sampling.
    """

    pipeline: str
    dataset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def system(self) -> str:
        """The pipeline with its settings, for people: ``cad (decode.rule.cad.alpha=0.5)``. Seeds are not told."""
        chosen = ", ".join(f"{path}={_shown(value)}" for path, value in self.settings.items())
        return f"{self.pipeline} ({chosen})" if chosen else self.pipeline

    @property
    def key(self) -> str:
        """Names the cell in the journal and the summary: readable, and different for every cell of a run."""
        text = json.dumps([self.pipeline, self.dataset, dict(self.settings), self.seed], sort_keys=True)
        return f"{self.pipeline}/{self.dataset}/{self.seed}-{sha256(text.encode()).hexdigest()[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Its attributes with ``key`` and ``system``, as they begin a record and a cell of the summary."""
        return {
            "cell": self.key,
            "system": self.system,
            "pipeline": self.pipeline,
            "dataset": self.dataset,
            "settings": plain_json(self.settings),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.

    Attributes:
        kind: Which sort of reason; failures are counted by it.
        message: The reason in words.
    """

    kind: FailureKind
    message: str

    def to_json(self) -> dict[str, Any]:
        """As it stands under ``error``."""
        return {"kind": self.kind, "message": self.message}


@dataclass(frozen=True)
class Record:
    """One sample of one cell.

    Attributes:
        cell: Where in the matrix.
        id: The example's id, unique in its data set.
        question: What was asked.
        references: Golden answers; empty where there are none.
        answer: The answer; None after a failure.
        finish_reason: ``stop``, ``length``, ``monitor`` or ``constraint``; None after a failure.
        passages: The evidence as the model saw it, best first: ``id``, ``source``, ``text``, ``score``, ``rank``.
        sentences: The answer's sentences: ``text``, ``start``, ``end``, ``faithfulness`` (None where nothing scored
            it), ``supported_by`` (ids of passages), and where a monitor tells it ``evidence`` (ranges of characters).
        metrics: Values by metric; None where a metric has none for this sample. Empty after a failure.
        stats: What it cost, as ``ask --json`` tells it, with ``peak_memory_mb``, ``confidence`` (exponential of the
            mean composed log-probability of its tokens), ``lowest_probability``, and ``cached`` (whether answer and
            figures were taken over from an equal request of this run).
        choices: Where the data set asks to choose: each option's ``text`` and ``logprob`` (nats).
        error: Why there is no answer.
        notes: What was cut, dropped or rewound.
        metadata: What the data set knows of the example besides.
    """

    cell: Cell
    id: str
    question: str
    references: Sequence[str] = ()
    answer: str | None = None
    finish_reason: str | None = None
    passages: Sequence[Mapping[str, Any]] = ()
    sentences: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    choices: Sequence[Mapping[str, Any]] = ()
    error: Failure | None = None
    notes: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The line; numbers that are not finite are null."""
        line: dict[str, Any] = plain_json(
            {
                **self.cell.to_json(),
                "id": self.id,
                "question": self.question,
                "references": self.references,
                "answer": self.answer,
                "finish_reason": self.finish_reason,
                "passages": self.passages,
                "sentences": self.sentences,
                "metrics": self.metrics,
                "stats": self.stats,
                "choices": self.choices,
                "error": self.error.to_json() if self.error else None,
                "notes": self.notes,
                "metadata": self.metadata,
            }
        )
        return line

    @staticmethod
    def from_json(line: Mapping[str, Any]) -> Record:
        """The record of a line as `to_json` makes it.

        Raises:
            KeyError: A key is missing.
            TypeError: A value has another type.
        """
        error = line["error"]
        return Record(
            Cell(line["pipeline"], line["dataset"], line["settings"], line["seed"]),
            error=Failure(error["kind"], error["message"]) if error else None,
            **{name: line[name] for name in _PLAIN},
        )


_PLAIN = (
    "id", "question", "references", "answer", "finish_reason", "passages", "sentences", "metrics", "stats", "choices",
    "notes", "metadata",
)  # fmt: skip


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
