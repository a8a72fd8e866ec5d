"""Texts cut to a number of tokens: passages at the end of a sentence, questions at their beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragdecode.documents.passage import Passage
from ragdecode.retrieval.excerpt import excerpt, sentences

#: texts -> tokens of each
Count = Callable[[Sequence[str]], list[int]]


def first_sentences(passages: Sequence[Passage], limits: Sequence[int], count: Count) -> list[Passage | None]:
    """As many whole sentences from the beginning of each passage as its limit allows; None if the first is too long.

    Beginnings of all passages are counted together, a few calls in all, however many sentences there are.
    """
    spans = [sentences(passage) for passage in passages]
    good = [0] * len(passages)  # so many sentences fit
    bad = [len(own) + 1 for own in spans]  # so many do not
    fitting: list[Passage | None] = [None] * len(passages)
    while open_ := [at for at in range(len(passages)) if bad[at] - good[at] > 1]:
        many = {at: (good[at] + bad[at]) // 2 for at in open_}
        shown = {at: excerpt(passages[at], spans[at][: many[at]]) for at in open_}
        for at, tokens in zip(open_, count([shown[at].text for at in open_]), strict=True):
            if tokens <= limits[at]:
                good[at], fitting[at] = many[at], shown[at]
            else:
                bad[at] = many[at]
    return fitting


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
