"""The readers ``jsonl`` and ``flashrag``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ragdecode.evaluation.columns import Columns
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.evaluation.json_lines import json_lines
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class JsonlSettings(Settings):
    """Settings of JSONL files."""

    path: ExistingPath
    """The file, one object a line; relative to the YAML file."""
    columns: Columns = Columns()
    """Which key holds what; the defaults are FlashRAG's."""


@register("dataset", "jsonl", JsonlSettings)
class Jsonl(DatasetReader[JsonlSettings]):
    """One JSON object a line, with any keys."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return self.settings.columns.brings()

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        return (Path(self.settings.path),)

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        file = Path(self.settings.path)
        for number, row in json_lines(file):
            if isinstance(row, Mistake):
                yield row
                continue
            try:
                yield self.settings.columns.example(row, number)
            except ValueError as error:
                yield Mistake(f"{file}:{number}", str(error))


@register("dataset", "flashrag", JsonlSettings)
class FlashRag(Jsonl):
    """FlashRAG's JSONL: ``id``, ``question``, ``golden_answers``, ``metadata``, and perhaps ``contexts``."""
