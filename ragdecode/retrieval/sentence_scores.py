"""How well sentences fit a question by the words they share: BM25 with sentences in the place of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import log

#: the usual constants of BM25
_K1, _B = 1.2, 0.75


def by_words(question: str, sentences: Sequence[str], split: Callable[[str], list[str]]) -> list[float]:
    """A score for each sentence; rareness of words is counted over these sentences alone.

    Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond" (2009), with the idf of Lucene,
    which is never negative.
    """
    counts = [Counter(split(sentence)) for sentence in sentences]
    lengths = [counted.total() for counted in counts]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    asked = set(split(question))
    holding = Counter(word for counted in counts for word in asked if word in counted)
    idf = {word: log(1 + (len(counts) - many + 0.5) / (many + 0.5)) for word, many in holding.items()}
    scores = []
    for counted, length in zip(counts, lengths, strict=True):
        damping = _K1 * (1 - _B + _B * length / mean) if mean else 0.0
        scores.append(
            sum(idf[word] * counted[word] * (_K1 + 1) / (counted[word] + damping) for word in idf if counted[word])
        )
    return scores
