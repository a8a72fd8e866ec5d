"""Hits and models for tests of the stages that work on passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragdecode.documents.passage import Passage, passage_id
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.retrieval.chains import stages


def hit(text: str, score: float = 0.0, *, source: str = "a.md", start: int = 0, **more: Any) -> Hit:
    """A hit whose passage starts at ``start`` of ``source``; other keywords are attributes."""
    scores, row, page = more.pop("scores", {}), more.pop("row", None), more.pop("page", None)
    heading = more.pop("heading", "")
    name = more.pop("id", None) or passage_id(source, start, text)
    passage = Passage(
        name, text, source, page, heading, start, start + len(text), len(text.split()), attributes=dict(more)
    )
    return Hit(passage, score, dict(scores), row)


def refine(
    written: Any, hits: Sequence[list[Hit]], queries: Sequence[Query | str] | None = None, **context: Any
) -> list[list[Hit]]:
    """What one stage, as written in YAML, makes of the hits."""
    (part,) = stages(written)
    asked = queries or [f"question {at}" for at in range(len(hits))]
    made = [Query(query) if isinstance(query, str) else query for query in asked]
    return part.build().refine(made, hits, RetrievalContext(**context))


def texts(hits: Sequence[Hit]) -> list[str]:
    return [one.passage.text for one in hits]


def count_words(texts: Sequence[str]) -> list[int]:
    """Tokens are words."""
    return [len(text.split()) for text in texts]
