"""Texts cut to a number of tokens: passages at the end of a sentence, questions at their beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragdecode.documents.passage import Passage
from ragdecode.retrieval.excerpt import excerpt, sentences

#: texts -> tokens of each
Count = Callable[[Sequence[str]], list[int]]


def first_sentences(passages: Sequence[Passage], limits: Sequence[int], count: Count) -> list[Passage | None]:
    """As many whole sentences from the beginning of each passage as its limit allows; None if the first is too long.

    All beginnings of all passages are counted in one call.
    """
    spans = [sentences(passage) for passage in passages]
    beginnings = [
        [excerpt(passage, own[: many + 1]) for many in range(len(own))]
        for passage, own in zip(passages, spans, strict=True)
    ]
    counts = iter(count([shown.text for own in beginnings for shown in own]) if any(beginnings) else [])
    short: list[Passage | None] = []
    for own, limit in zip(beginnings, limits, strict=True):
        fitting = [shown for shown in own if next(counts) <= limit]
        short.append(fitting[-1] if fitting else None)
    return short


def last_words(texts: Sequence[str], limit: int, count: Count | None) -> list[str]:
    """The end of each text, whole words of at most ``limit`` tokens together; texts that fit stay as they are.

    Without ``count`` words are counted. A last word that is too long alone stays.
    """
    counts = (count or _words)(list(texts)) if texts else []
    return [
        text if tokens <= limit else _end(text, limit, count or _words)
        for text, tokens in zip(texts, counts, strict=True)
    ]


def _end(text: str, limit: int, count: Count) -> str:
    words = text.split()
    good, bad = len(words) - 1, 0  # from the word `good` on it fits (or nothing does), from `bad` on it does not
    while good - bad > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if count([" ".join(words[middle:])])[0] <= limit else (good, middle)
    return " ".join(words[good:])


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]
