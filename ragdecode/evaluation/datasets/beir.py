"""The reader ``beir``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.evaluation.ranking.beir import read_beir
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class BeirSettings(Settings):
    """Settings of BEIR folders."""

    path: ExistingPath
    """The folder, with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels``; relative to the YAML file."""
    split: str = "test"
    """Which judgements: ``qrels/SPLIT.tsv``."""
    passages: Literal["none", "relevant"] = "none"
    """``relevant`` gives the judged relevant documents as evidence, the best grades first; ``none`` leaves finding them
    to the pipeline."""


@register("dataset", "beir", BeirSettings)
class Beir(DatasetReader[BeirSettings]):
    """A judged collection in BEIR's layout: its queries are the questions, its judgements say what is relevant."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return frozenset({"relevant", "passages"} if self.settings.passages == "relevant" else {"relevant"})

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        folder, split = Path(self.settings.path), self.settings.split
        names = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv", "qrels.tsv")
        return tuple(file for name in names if (file := folder / name).is_file())

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        collection = read_beir(Path(self.settings.path), self.settings.split)
        documents: dict[str, tuple[str, str]] = {}
        if self.settings.passages == "relevant":
            wanted = {name for grades in collection.judgements.values() for name, grade in grades.items() if grade > 0}
            documents = {name: (title, text) for name, title, text in collection.documents() if name in wanted}
        for name, text in collection.queries.items():
            grades = collection.judgements[name]
            passages = None
            if self.settings.passages == "relevant":
                best = sorted((one for one in grades if one in documents), key=lambda one: (-grades[one], one))
                passages = tuple(
                    Passage(one, documents[one][0], documents[one][1], rank=rank) for rank, one in enumerate(best, 1)
                )
            yield Example(name, text, passages=passages, relevant=grades)
