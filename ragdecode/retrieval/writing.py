"""Short texts of the language model for query stages: asked for all at once, and tidied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ragdecode.errors import RunError
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.stage import RetrievalContext

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,2}[.):]|[a-z][.)])\s+")
_LABEL = re.compile(
    r"^\s*(?:(?:the\s+)?(?:standalone|rewritten|alternative|sub-?)\s*-?\s*(?:question|query)s?|question|query)"
    r"(?:\s*\d+)?\s*:\s*",
    re.IGNORECASE,
)
_QUOTES = "\"'`“”„‘’«»*_ \t"
#: longer than this is no question to search with
MAX_WORDS = 64


def written(context: RetrievalContext, stage: str, asked: Sequence[Generation]) -> list[str]:
    """The text of each request, in order, in one call.

    Raises:
        RunError: There is no language model, or it did not answer every request.
    """
    if not asked:
        return []
    if context.generate is None:
        raise RunError(f"{stage} needs the pipeline's language model", component=f"retriever {stage}")
    texts = context.generate(asked)
    if len(texts) != len(asked):
        raise RunError(f"expected {len(asked)} texts, got {len(texts)}", component=f"retriever {stage}")
    return texts


def lines(text: str) -> list[str]:
    """The questions in a text, one a line: numbering, labels and quotes taken off, empty and endless ones left out."""
    tidy = [_LABEL.sub("", _NUMBER.sub("", line)).strip(_QUOTES) for line in text.splitlines()]
    return [line for line in tidy if 0 < len(words(line)) <= MAX_WORDS]


def distinct(texts: Sequence[str], *known: str) -> list[str]:
    """Those that differ in their words from one another and from what is known, in order."""
    seen = {tuple(words(text)) for text in known}
    kept = []
    for text in texts:
        key = tuple(words(text))
        if key not in seen:
            seen.add(key)
            kept.append(text)
    return kept


def words(text: str) -> list[str]:
    """Words as the stores compare them, whole."""
    return _splitter()(text)


@cache
def _splitter() -> Callable[[str], list[str]]:
    from ragdecode.indexing.bm25.words import splitter

    return splitter("none")
