"""Which of the passages a view over a part of the evidence shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragdecode.pipeline.passage import Passage
from ragdecode.retrieval.sentence_scores import by_words


def most_relevant(
    question: str, passages: Sequence[Passage], count: int, words: Callable[[str], list[str]]
) -> list[Passage]:
    """The best passages by the retriever's score, in the order in which they are given.

    Where none has a score, which is so for passages that came with the request, BM25 of the question over these
    passages decides. Of equals the first are taken.
    """
    scores = [passage.score for passage in passages]
    if not any(scores):
        scores = by_words(question, [passage.text for passage in passages], words)
    best = sorted(range(len(passages)), key=lambda place: -scores[place])[:count]
    return [passages[place] for place in sorted(best)]
