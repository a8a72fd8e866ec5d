"""BM25 as a product of two sparse vectors: weights of a passage's words times how often the question has them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.indexing.bm25.words import splitter

if TYPE_CHECKING:
    from ragdecode.indexing.milvus.collection import Collection
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Probe
    from ragdecode.indexing.stores.milvus_bm25 import MilvusBm25Settings

VOCABULARY, IDF = "vocabulary.json", "idf.npy"
#: rows asked for beyond k, so that ties with the k-th are seen
_MORE = 16
#: passages between two reports of progress
_STEP = 1000


def weigh(
    passages: PassageTable, folder: Path, settings: MilvusBm25Settings, context: BuildContext
) -> tuple[int, Iterator[dict[int, float] | None]]:
    """Count the words of all passages and write the vocabulary with its statistics.

    The texts are gone through twice, so that only the vocabulary is held in memory.

    Returns:
        How many different words there are; and for each passage the weight of each of its words by number, None for
        a passage without words.
    """
    import numpy as np

    words_of = splitter(settings.stemmer, settings.stop_words)
    numbers: dict[str, int] = {}
    containing: Counter[int] = Counter()
    length = 0
    for done, text in enumerate(passages.texts(), start=1):
        words = words_of(text)
        length += len(words)
        containing.update({numbers.setdefault(word, len(numbers)) for word in words})
        if done % _STEP == 0 or done == len(passages):
            context.progress("words", done, len(passages))
    idf = [_idf(settings.variant, containing[number], len(passages)) for number in range(len(numbers))]
    (folder / VOCABULARY).write_text(json.dumps(list(numbers), ensure_ascii=False), encoding="utf-8")
    np.save(folder / IDF, np.asarray(idf, np.float64), allow_pickle=False)
    mean = length / len(passages)

    def rows() -> Iterator[dict[int, float] | None]:
        for text in passages.texts():
            counts = Counter(numbers[word] for word in words_of(text))
            norm = settings.k1 * (1 - settings.b + settings.b * counts.total() / mean) if counts else 0.0
            top = settings.k1 + 1 if settings.variant == "bm25+" else 1.0
            yield {word: idf[word] * top * count / (norm + count) for word, count in counts.items()} or None

    return len(numbers), rows()


def _idf(variant: str, containing: int, passages: int) -> float:
    """How rare a word is; above 0 in both formulas."""
    if variant == "bm25+":
        return math.log((passages + 1) / containing)
    return math.log(1 + (passages - containing + 0.5) / (containing + 0.5))


class MilvusWords:
    """An open store of words; a searcher of the `Words` protocol.

    Args:
        folder: The vocabulary.
        collection: The weights.
        settings: What it was built with.
    """

    def __init__(self, folder: Path, collection: Collection, settings: MilvusBm25Settings) -> None:
        import numpy as np

        vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        self._numbers = {word: number for number, word in enumerate(vocabulary)}
        self._idf = np.load(folder / IDF, allow_pickle=False).tolist()
        # what bm25+ gives every passage for a word of the question, whether it has the word or not
        self._delta = settings.delta if settings.variant == "bm25+" else 0.0
        self._collection = collection
        self._words_of = splitter(settings.stemmer, settings.stop_words)

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """Rows that share at least one word with the query, best first; ties with the k-th as far as they are seen."""
        found: list[list[tuple[int, float]]] = [[] for _ in probes]
        queries = {at: query for at, probe in enumerate(probes) if (query := self._query(probe))}
        if not queries or k < 1:
            return found
        answers = self._collection.search(list(queries.values()), k + _MORE, {})
        for (at, query), hits in zip(queries.items(), answers, strict=True):
            shift = self._delta * sum(weight * self._idf[word] for word, weight in query.items())
            limit = hits[min(k, len(hits)) - 1][1] if hits else 0.0
            found[at] = [(row, score + shift) for row, score in hits if score >= limit]
        return found

    def words(self, text: str) -> list[str]:
        """The words of a text in the form in which they are compared."""
        return self._words_of(text)

    def idf(self, words: Sequence[str]) -> list[float]:
        """How rare each word is in the index; 0 for words that it does not have."""
        return [self._idf[self._numbers[word]] if word in self._numbers else 0.0 for word in words]

    def _query(self, probe: Probe) -> dict[int, float]:
        weights: Mapping[str, float] = Counter(self._words_of(probe.text)) if probe.words is None else probe.words
        return {
            self._numbers[word]: float(weight)
            for word, weight in weights.items()
            if word in self._numbers and weight > 0
        }
