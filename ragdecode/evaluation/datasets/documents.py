"""The reader ``documents``: questions on long documents in a file of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ragdecode.evaluation.columns import Columns
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.evaluation.json_lines import json_lines
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class DocumentsSettings(Settings):
    """Settings of questions on documents."""

    path: ExistingPath
    """The folder, with ``questions.jsonl`` and ``documents.jsonl`` (``id``, ``title``, ``text``); relative to the YAML
    file."""
    columns: Columns = Columns()
    """Which key of a question holds what; its passages name documents by ``id``."""


@register("dataset", "documents", DocumentsSettings)
class Documents(DatasetReader[DocumentsSettings]):
    """Questions whose contexts name documents by id; the whole documents are the evidence."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return self.settings.columns.brings()

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        folder = Path(self.settings.path)
        return (folder / "documents.jsonl", folder / "questions.jsonl")

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        file, questions = self.files
        known: dict[str, Passage] = {}
        for number, row in json_lines(file):
            if isinstance(row, Mistake):
                yield row
            elif not isinstance(row.get("text"), str) or "id" not in row:
                yield Mistake(f"{file}:{number}", "expected a document with 'id' and 'text'")
            else:
                known[str(row["id"])] = Passage(str(row["id"]), str(row.get("title") or ""), row["text"])
        columns = self.settings.columns.model_copy(update={"passages": None})
        for number, row in json_lines(questions):
            if isinstance(row, Mistake):
                yield row
                continue
            try:
                named = [str(one["id"]) for one in row.get(self.settings.columns.passages or "") or ()]
                lost = [name for name in named if name not in known]
                if lost:
                    raise ValueError(f"there is no document {lost[0]!r} in {file.name}")
                passages = tuple(replace(known[name], rank=rank) for rank, name in enumerate(named, start=1))
                yield replace(columns.example(row, number), passages=passages, relevant=dict.fromkeys(named, 1))
            except (ValueError, KeyError, TypeError) as error:
                yield Mistake(f"{questions}:{number}", str(error))
