"""The reader ``csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field as SettingsField

from ragdecode.errors import InputError
from ragdecode.evaluation.columns import Columns
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

#: columns whose cells may hold several texts
_MANY = ("references", "passages", "originals", "options", "relevant")


class CsvSettings(Settings):
    """Settings of CSV files."""

    path: ExistingPath
    """The file, UTF-8, with a line of column names; relative to the YAML file."""
    columns: Columns = Columns(references="answer", passages="context")
    """Which column holds what."""
    delimiter: str = SettingsField(default=",", min_length=1, max_length=1)
    """What stands between cells; a tab for TSV."""
    separator: str | None = SettingsField(default=None, min_length=1)
    """What stands between several texts in a cell; a cell is one text if left out."""


@register("dataset", "csv", CsvSettings)
class Csv(DatasetReader[CsvSettings]):
    """A CSV or TSV file with column names in its first line."""

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
        file, columns = Path(self.settings.path), self.settings.columns
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.DictReader(stream, delimiter=self.settings.delimiter, strict=True)
                if columns.question not in (rows.fieldnames or ()):
                    there = ", ".join(rows.fieldnames or ()) or "none"
                    raise InputError(
                        f"{file}:1: there is no column '{columns.question}'; there are {there}",
                        hint="name the column of the question: columns.question",
                    )
                for number, row in enumerate(rows, start=1):
                    line = rows.line_num
                    if None in row or None in row.values():
                        yield Mistake(f"{file}:{line}", "expected as many cells as there are columns")
                        continue
                    try:
                        yield columns.example(self._split(row), number)
                    except ValueError as error:
                        yield Mistake(f"{file}:{line}", str(error))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError(f"cannot read {file}: {reason}") from error

    def _split(self, row: dict[str, str]) -> dict[str, Any]:
        """Cells of several texts as lists; empty cells as nothing."""
        made: dict[str, Any] = {name: cell for name, cell in row.items() if cell}
        for key in _MANY:
            name = getattr(self.settings.columns, key)
            if name in made:
                cell, separator = made[name], self.settings.separator
                made[name] = [one.strip() for one in cell.split(separator)] if separator else [cell]
        return made
