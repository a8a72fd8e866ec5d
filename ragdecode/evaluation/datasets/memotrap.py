"""The reader ``memotrap``."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ragdecode.errors import InputError
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.evaluation.json_lines import json_lines
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

#: what stands between the instruction and the saying that is begun
_MARKS = ("\nto:\n", ": ")


class MemoTrapSettings(Settings):
    """Settings of MemoTrap."""

    path: ExistingPath
    """A CSV file as published (``prompt``, ``classes``, ``answer_index``), or a JSONL file with ``question`` and
    ``metadata.classes`` and ``metadata.answer_index``; relative to the YAML file."""
    subtask: str | None = None
    """Only rows of this ``metadata.subtask``, in JSONL files."""
    without_context: Literal["saying", "whole"] = "saying"
    """What a view without the evidence is shown: the saying that is begun, without the instruction; or the whole."""


@register("dataset", "memotrap", MemoTrapSettings)
class MemoTrap(DatasetReader[MemoTrapSettings]):
    """MemoTrap: sayings that an instruction wants to end in another way. The options' log-probabilities decide."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return frozenset({"options", "references", "originals"})

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        return (Path(self.settings.path),)

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        (file,) = self.files
        for line, row in self._rows(file):
            if isinstance(row, Mistake):
                yield row
                continue
            try:
                yield self._example(row, line)
            except (ValueError, SyntaxError, KeyError, TypeError, IndexError) as error:
                yield Mistake(f"{file}:{line}", f"not in MemoTrap's layout: {error!r}")

    def _rows(self, file: Path) -> Iterator[tuple[int, dict[str, Any] | Mistake]]:
        if file.suffix != ".csv":
            for number, row in json_lines(file):
                wanted = self.settings.subtask
                if isinstance(row, Mistake) or wanted in (None, (row.get("metadata") or {}).get("subtask")):
                    yield number, row
            return
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.DictReader(stream)
                for number, cells in enumerate(rows, start=1):
                    classes = cells.get("classes") or ""
                    metadata = {"classes": classes, "answer_index": cells.get("answer_index")}
                    yield rows.line_num, {"id": str(number), "question": cells.get("prompt"), "metadata": metadata}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"cannot read {file}: {error}") from error

    def _example(self, row: dict[str, Any], line: int) -> Example:
        whole, metadata = row["question"], row["metadata"]
        classes = metadata["classes"]
        if isinstance(classes, str):  # a Python list literal
            classes = ast.literal_eval(classes)
        options, correct = tuple(map(str, classes)), int(metadata["answer_index"])
        if not isinstance(whole, str) or not whole or len(options) < 2 or not 0 <= correct < len(options):
            raise ValueError("expected a prompt, two endings and the place of the right one")
        prompts = {"with_context": whole, "without_context": self._begun(whole)}
        others = tuple(one for place, one in enumerate(options) if place != correct)
        return Example(
            str(row.get("id") or line), whole, (options[correct],), None, others, options, correct, prompts=prompts,
            metadata={key: value for key, value in metadata.items() if key == "subtask"},
        )  # fmt: skip

    def _begun(self, whole: str) -> str:
        if self.settings.without_context == "whole":
            return whole
        for mark in _MARKS:
            _, found, begun = whole.partition(mark)
            if found and begun:
                return begun
        return whole
