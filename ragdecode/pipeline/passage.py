"""A passage as the model sees it: the evidence of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.documents import Document


@dataclass(frozen=True)
class Passage:
    """A piece of text that the answer may lean on.

    Attributes:
        id: Names the passage in its index, or its place in the request (``p1``).
        source: Where it comes from, for people: a file, a page, a title.
        text: The text that is shown to the model.
        score: The last retriever's score; higher is better.
        rank: 1 for the best.
        metadata: Whatever else is known of its place (``page``, ``heading``, ``start``, ``end``).
    """

    id: str
    source: str
    text: str
    score: float = 0.0
    rank: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(value: str | Mapping[str, Any] | Document | Passage, rank: int) -> Passage:
        """A passage from text, from a mapping with ``text``, or from a LangChain document."""
        if isinstance(value, Passage):
            return Passage(value.id, value.source, value.text, value.score, rank, value.metadata)
        if isinstance(value, str):
            return Passage(f"p{rank}", "", value, rank=rank)
        if isinstance(value, Mapping):
            name = value.get("source") or value.get("title") or ""
            identity = str(value.get("id") or f"p{rank}")
            return Passage(identity, str(name), str(value["text"]), _number(value.get("score")), rank)
        metadata = dict(value.metadata)
        score = metadata.pop("score", None)
        source = metadata.pop("source", "")
        identity = value.id or metadata.pop("id", None) or f"p{rank}"
        return Passage(str(identity), str(source), value.page_content, _number(score), rank, metadata)

    def to_json(self) -> dict[str, Any]:
        """The passage as it stands in ``ask --json``."""
        return {
            "id": self.id,
            "source": self.source,
            "text": self.text,
            "score": self.score,
            "rank": self.rank,
        }


def _number(score: Any) -> float:
    """A score as JSON can hold it; 0 where there is none."""
    return float(score) if isinstance(score, (int, float)) and isfinite(score) else 0.0
