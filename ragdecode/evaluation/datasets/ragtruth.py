"""The reader ``ragtruth``: the questions and sources of RAGTruth, for pipelines to answer anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ragdecode.errors import InputError
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.evaluation.json_lines import json_lines
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_ASKS = {
    "Summary": "Summarize the text in a few sentences.",
    "Data2txt": "Write an objective overview of the business from the structured data.",
}


class RagTruthSettings(Settings):
    """Settings of RAGTruth."""

    path: ExistingPath
    """The folder as published, with ``response.jsonl`` and ``source_info.jsonl``; or a JSONL file with a labelled
    answer a line. Relative to the YAML file."""
    task: Literal["QA", "Summary", "Data2txt", "all"] = "QA"
    """Which task."""
    split: Literal["train", "test", "all"] = "test"
    """Which split."""


@register("dataset", "ragtruth", RagTruthSettings)
class RagTruth(DatasetReader[RagTruthSettings]):
    """Each source of RAGTruth once, with its question; what was labelled in other models' answers is metadata."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return frozenset({"passages"})

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        path = Path(self.settings.path)
        return (path / "response.jsonl", path / "source_info.jsonl") if path.is_dir() else (path,)

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        for file in self.files:
            if not file.is_file():
                raise InputError(f"there is no {file}", hint="RAGTruth is response.jsonl and source_info.jsonl")
        return self._published() if len(self.files) == 2 else self._labelled()

    def _published(self) -> Iterator[Example | Mistake]:
        responses, sources = self.files
        counts: dict[str, dict[str, int]] = {}
        for number, row in json_lines(responses):
            if isinstance(row, Mistake):
                yield row
            elif "source_id" not in row or not isinstance(row.get("labels"), list):
                yield Mistake(f"{responses}:{number}", "expected 'source_id' and a list of 'labels'")
            elif self.settings.split in ("all", row.get("split")):
                _count(counts.setdefault(str(row["source_id"]), _nothing()), bool(row["labels"]))
        for number, row in json_lines(sources):
            if isinstance(row, Mistake):
                yield row
            elif self._wanted(row.get("task_type")) and (found := counts.get(str(row.get("source_id")))):
                try:
                    yield _example(row, found)
                except ValueError as error:
                    yield Mistake(f"{sources}:{number}", str(error))

    def _labelled(self) -> Iterator[Example | Mistake]:
        """Rows ``{"id", "task", "source": {"question", "passages"}, "response", "hallucinated", "split"}``."""
        (file,) = self.files
        found: dict[str, Example] = {}
        counts: dict[str, dict[str, int]] = {}
        for number, row in json_lines(file):
            if isinstance(row, Mistake):
                yield row
                continue
            source = row.get("source")
            if not isinstance(source, Mapping) or not isinstance(source.get("passages"), list):
                yield Mistake(f"{file}:{number}", "expected 'source' with 'question' and a list of 'passages'")
                continue
            if not self._wanted(row.get("task")) or self.settings.split not in ("all", row.get("split") or "test"):
                continue
            key = json.dumps(source, sort_keys=True)
            _count(counts.setdefault(key, _nothing()), bool(row.get("hallucinated")))
            if key not in found:
                question = source.get("question") or _ASKS["Summary"]
                passages = tuple(Passage.of(one, rank) for rank, one in enumerate(source["passages"], start=1))
                found[key] = Example(str(row.get("id", number)), question, passages=passages, metadata=counts[key])
        yield from found.values()

    def _wanted(self, task: Any) -> bool:
        return self.settings.task == "all" or str(task).casefold() == self.settings.task.casefold()


def _nothing() -> dict[str, int]:
    return {"responses": 0, "hallucinated": 0}


def _count(counts: dict[str, int], hallucinated: bool) -> None:
    counts["responses"] += 1
    counts["hallucinated"] += hallucinated


def _example(row: Mapping[str, Any], counts: Mapping[str, int]) -> Example:
    name, info = str(row["source_id"]), row.get("source_info")
    if isinstance(info, str):
        return Example(name, _ASKS["Summary"], passages=(Passage("source", "", info),), metadata=counts)
    if not isinstance(info, Mapping):
        raise ValueError("'source_info' is neither a text nor an object")
    if "question" in info:
        text = info.get("passages")
        if not isinstance(text, str):
            raise ValueError("'source_info' has a question and no text 'passages'")
        return Example(name, info["question"], passages=_split(text), metadata=counts)
    shown = json.dumps(info, ensure_ascii=False, indent=1)
    return Example(name, _ASKS["Data2txt"], passages=(Passage("source", "", shown),), metadata=counts)


def _split(text: str) -> tuple[Passage, ...]:
    """RAGTruth's passages stand in one text, each after ``passage N:``."""
    parts = [part.partition(":")[2].strip() for part in ("\n" + text).split("\npassage ") if part.strip()]
    parts = [part for part in parts if part] or [text]
    return tuple(Passage(f"p{rank}", "", part, rank=rank) for rank, part in enumerate(parts, start=1))
