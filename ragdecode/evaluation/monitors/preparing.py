"""From files of labelled answers to tables of sentences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.evaluation.monitors.examples import Examples, collect
from ragdecode.evaluation.monitors.journal import Journal
from ragdecode.evaluation.monitors.labelled import Labelled, LabelledData, group_by_passages
from ragdecode.evaluation.monitors.reading import read_labelled
from ragdecode.evaluation.monitors.watching import Watcher
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.faithfulness.aligner import Aligner
    from ragdecode.models.causal import CausalModel
    from ragdecode.spec.prompt import PromptSpec


@dataclass(frozen=True)
class Bench:
    """What labelled answers are read with.

    Attributes:
        model: The language model.
        backend: The same, ready to run.
        prompt: How questions are asked.
        aligner: Compares sentences with the evidence.
        resources: What the aligner asks for, by name.
        journal: Where what was read is kept.
        progress: Told after every source.
    """

    model: CausalModel
    backend: Backend
    prompt: PromptSpec
    aligner: Aligner
    resources: dict[str, Any]
    journal: Path
    progress: Progress = silent

    def examples(self, data: LabelledData) -> Examples:
        """The sentences of labelled answers; what is left out is counted in the data's tally.

        Raises:
            InputError: The journal cannot be written.
        """
        rows = sorted(data.rows, key=lambda row: row.group)  # answers about one text stand together
        with Journal(self.journal) as journal:
            watcher = Watcher(self.model, self.backend, self.prompt, journal, self.progress)
            watched = watcher.watch(rows, data.tally)
        return collect(rows, watched, self.aligner, self.resources, data.tally, self.progress)


def read_all(paths: Sequence[Path], limit: int | None = None) -> list[LabelledData]:
    """Read several data sets; groups are counted over all of them, so that a text that two of them have is one source.

    Args:
        paths: See `read_labelled`.
        limit: Take so many answers of each, those of whole sources, drawn by chance but always the same.

    Raises:
        InputError: One cannot be read, or has wrong lines.
    """
    read = [read_labelled(path) for path in paths]
    chosen = [_some(data.rows, limit) for data in read]
    groups = iter(group_by_passages(row.passages for rows in chosen for row in rows))
    return [
        replace(data, rows=tuple(replace(row, group=next(groups)) for row in rows))
        for data, rows in zip(read, chosen, strict=True)
    ]


def _some(rows: Sequence[Labelled], limit: int | None) -> Sequence[Labelled]:
    if limit is None or len(rows) <= limit:
        return rows
    order = sorted({row.group for row in rows})
    random.Random(0).shuffle(order)  # noqa: S311 - no secret
    places = {group: place for place, group in enumerate(order)}
    return sorted(rows, key=lambda row: places[row.group])[:limit]
