"""Judged collections in the layout of `BEIR <https://github.com/beir-cellar/beir>`_: corpus, queries, judgements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError

#: grade of each judged document, by query
Judgements = dict[str, dict[str, int]]


@dataclass(frozen=True)
class JudgedCollection:
    """Documents, queries, and which documents answer which query.

    Attributes:
        folder: Where it lies.
        queries: Text of the judged queries by id, in the order of their file.
        judgements: Grade by document id, by query id; 0 and below mean not relevant.
    """

    folder: Path
    queries: dict[str, str]
    judgements: Judgements

    @property
    def corpus(self) -> Path:
        """The file of its documents, ``{"_id", "title", "text"}`` a line."""
        return self.folder / "corpus.jsonl"

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """(id, title, text) of each document, in the order of the file.

        Raises:
            InputError: A line is not a document.
        """
        for at, row in _rows(self.corpus):
            yield _text(row, "_id", at), str(row.get("title") or ""), _text(row, "text", at)


def read_beir(folder: Path, split: str = "test") -> JudgedCollection:
    """Read the queries and judgements in a folder.

    Args:
        folder: Holds ``corpus.jsonl``, ``queries.jsonl`` and the judgements: ``qrels/SPLIT.tsv``, or ``qrels.tsv``
            where there are no splits.
        split: Which judgements.

    Raises:
        InputError: A file is missing or a line is wrong; names file and line.
    """
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (folder / name).is_file():
            raise InputError(
                f"{str(folder)!r} has no {name}",
                hint="the BEIR layout is corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv)",
            )
    judgements = _judgements(_judgement_file(folder, split))
    queries: dict[str, str] = {}
    for at, row in _rows(folder / "queries.jsonl"):
        name = _text(row, "_id", at)
        if name in queries:
            raise InputError(f"{at}: the query {name!r} is there twice")
        queries[name] = _text(row, "text", at)
    lost = [name for name in judgements if name not in queries]
    if lost:
        raise InputError(
            f"{len(lost)} judged queries are not in {str(folder / 'queries.jsonl')!r}, the first is {lost[0]!r}"
        )
    return JudgedCollection(folder, {name: text for name, text in queries.items() if name in judgements}, judgements)


def _judgement_file(folder: Path, split: str) -> Path:
    choices = (folder / "qrels" / f"{split}.tsv", folder / "qrels.tsv")
    for file in choices:
        if file.is_file():
            return file
    splits = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
    raise InputError(
        f"{str(folder)!r} has no judgements: neither qrels/{split}.tsv nor qrels.tsv",
        hint=f"there are the splits {', '.join(splits)}" if splits else None,
    )


def _judgements(file: Path) -> Judgements:
    """Lines of query id, document id and grade between tabs; the four columns of TREC too."""
    judgements: Judgements = {}
    for number, line in enumerate(_lines(file), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or (number == 1 and fields[-1].isalpha()):  # a header
            continue
        if len(fields) not in (3, 4) or not _is_grade(fields[-1]):
            raise InputError(
                f"{str(file)!r}, line {number}: expected query id, document id and a whole number, found {line!r:.80}"
            )
        grades = judgements.setdefault(fields[0], {})
        document, grade = fields[-2], int(fields[-1])
        if grades.setdefault(document, grade) != grade:
            raise InputError(
                f"{str(file)!r}, line {number}: document {document!r} has two grades for query {fields[0]!r}"
            )
    if not judgements:
        raise InputError(f"{str(file)!r} holds no judgements")
    return judgements


def _is_grade(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="\n") as stream:
            for line in stream:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{str(file)!r} is not UTF-8: {error}") from error
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}") from error


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object with its place, for messages."""
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        at = f"{str(file)!r}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{at}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{at}: expected an object, found {line!r:.80}")
        yield at, row


def _text(row: dict[str, Any], key: str, at: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f"{at}: expected {key} as a string, found {value!r:.80}")
    return value
