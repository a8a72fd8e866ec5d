"""How well sentences fit a question by the words they share: BM25 with sentences in the place of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import log

#: the usual constant of BM25
_K1 = 1.2


def by_words(question: str, sentences: Sequence[str], split: Callable[[str], list[str]]) -> list[float]:
    """A score for each sentence; rareness of words is counted over these sentences alone.

    Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond" (2009), with the idf of Lucene,
    which is never negative, and without its normalisation of lengths (b = 0): that would put the shortest sentences
    first, which are headings.
    """
    counts = [Counter(split(sentence)) for sentence in sentences]
    asked = set(split(question))
    holding = Counter(word for counted in counts for word in asked if word in counted)
    idf = {word: log(1 + (len(counts) - many + 0.5) / (many + 0.5)) for word, many in holding.items()}
    return [
        sum(idf[word] * counted[word] * (_K1 + 1) / (counted[word] + _K1) for word in idf if counted[word])
        for counted in counts
    ]
