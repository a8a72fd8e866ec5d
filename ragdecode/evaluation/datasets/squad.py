"""The reader ``squad``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class SquadSettings(Settings):
    """Settings of SQuAD files."""

    path: ExistingPath
    """The JSON file as published (1.1 or 2.0); relative to the YAML file."""
    distractors: bool = False
    """Show the other paragraphs of the article behind the right one."""
    unanswerable: bool = False
    """Keep the questions of 2.0 that the paragraph does not answer; they have no golden answers."""


@register("dataset", "squad", SquadSettings)
class Squad(DatasetReader[SquadSettings]):
    """SQuAD's nested JSON: articles, paragraphs, questions; XQuAD and other sets of that layout too."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return frozenset({"references", "passages", "relevant"})

    @property
    def files(self) -> Sequence[Path]:
        """See `DatasetReader.files`."""
        return (Path(self.settings.path),)

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        file = Path(self.settings.path)
        try:
            articles = json.loads(file.read_text(encoding="utf-8-sig"))["data"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"no JSON with 'data' ({error})"
            raise InputError(f"cannot read {file}: {reason}") from error
        for number, article in enumerate(articles):
            try:
                yield from self._article(article, number)
            except (KeyError, TypeError, AttributeError) as error:
                yield Mistake(f"{file}: article {number}", f"not in SQuAD's layout: {type(error).__name__}: {error}")

    def _article(self, article: dict[str, Any], number: int) -> Iterator[Example]:
        title = article.get("title", "")
        texts = [paragraph["context"] for paragraph in article["paragraphs"]]
        for place, paragraph in enumerate(article["paragraphs"]):
            order = [place]
            if self.settings.distractors:
                order += [other for other in range(len(texts)) if other != place]
            passages = tuple(
                Passage(f"{number}-{at}", title, texts[at], rank=rank) for rank, at in enumerate(order, start=1)
            )
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(one["text"] for one in asked.get("answers", ())))
                if answers or self.settings.unanswerable:
                    yield Example(
                        str(asked["id"]), asked["question"], answers, passages, relevant={f"{number}-{place}": 1},
                        metadata={"answerable": bool(answers)},
                    )  # fmt: skip
