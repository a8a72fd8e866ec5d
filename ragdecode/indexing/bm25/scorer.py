"""The two BM25 backends behind one contract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ragdecode.indexing.bm25 import matrix
from ragdecode.indexing.bm25.selection import best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.bm25.matrix import Piece
    from ragdecode.indexing.stores.bm25 import Bm25Settings

#: share of all that a query could score by which sums in single precision may be off
_SLACK = 1e-5
#: columns that are summed sooner than it is found out whether they matter
_SHORT = 2000


class Scorer(Protocol):
    """Ranks passages for weighted words."""

    @classmethod
    def write(
        cls, folder: Path, pieces: Iterable[Piece], vocabulary: Mapping[str, int], settings: Bm25Settings
    ) -> None:
        """Write the data files for passages as word numbers; ``vocabulary`` is complete when they have run out."""
        ...

    @classmethod
    def read(cls, folder: Path, settings: Bm25Settings) -> Scorer:
        """Open the data files."""
        ...

    def search(self, words: Mapping[str, float], k: int) -> list[tuple[int, float]]:
        """The best k rows that share a word of weight other than 0, best first, with all that equal the k-th."""
        ...

    def idf(self, words: Sequence[str]) -> list[float]:
        """Inverse document frequency of each word; 0 for unknown ones."""
        ...


class MatrixScorer:
    """bm25s's sparse matrix of scores, memory-mapped; a query sums its words' columns, as far as it has to."""

    def __init__(self, folder: Path, settings: Bm25Settings) -> None:
        import numpy as np

        def mapped(name: str) -> NDArray[Any]:
            return np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))

        self._variant = settings.variant
        self._data, self._rows, self._starts = mapped(matrix.DATA), mapped(matrix.INDICES), mapped(matrix.STARTS)
        self._maxima = mapped(matrix.MAXIMA)
        self._absent = mapped(matrix.ABSENT) if settings.variant == "bm25+" else None
        self._vocabulary: dict[str, int] = json.loads((folder / matrix.VOCABULARY).read_text(encoding="utf-8"))
        self._total = int(json.loads((folder / matrix.PARAMETERS).read_text(encoding="utf-8"))["num_docs"])

    @classmethod
    def write(
        cls, folder: Path, pieces: Iterable[Piece], vocabulary: Mapping[str, int], settings: Bm25Settings
    ) -> None:
        """Compute the matrix piece by piece."""
        matrix.write_matrix(folder, pieces, vocabulary, settings)

    @classmethod
    def read(cls, folder: Path, settings: Bm25Settings) -> MatrixScorer:
        """Map the arrays."""
        return cls(folder, settings)

    def search(self, words: Mapping[str, float], k: int) -> list[tuple[int, float]]:
        """Exact: columns that cannot change who is among the best are read for those only, see `_eligible`."""
        import numpy as np

        asked = sorted(
            (self._vocabulary[word], weight) for word, weight in words.items() if weight and word in self._vocabulary
        )
        if not asked or k < 1:
            return []
        rows = self._eligible(asked, k)
        # once more in double precision and in one order of words, so that equal passages have equal scores
        scores = np.zeros(len(rows))
        for word, weight in asked:
            scores += weight * self._values(word, rows).astype(np.float64)
        if self._absent is not None:
            scores += sum(weight * float(self._absent[word]) for word, weight in asked)
        return [(int(rows[at]), score) for at, score in best(scores, np.arange(len(rows)), k)]

    def idf(self, words: Sequence[str]) -> list[float]:
        """As the variant defines it."""
        numbers = [self._vocabulary.get(word) for word in words]
        idf = matrix.IDF[self._variant]
        return [
            0.0 if number is None else idf(int(self._starts[number + 1] - self._starts[number]), self._total)
            for number in numbers
        ]

    def _column(self, word: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        start, end = int(self._starts[word]), int(self._starts[word + 1])
        return self._rows[start:end], self._data[start:end]

    def _values(self, word: int, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The word's scores in rows, 0 where it does not occur."""
        import numpy as np

        column, values = self._column(word)
        places = np.minimum(np.searchsorted(column, rows), len(column) - 1)
        return np.where(column[places] == rows, values[places], np.float32(0))

    def _eligible(self, asked: Sequence[tuple[int, float]], k: int) -> NDArray[np.int32]:
        """Rows among which the best k and their ties are, ascending.

        Columns are summed in order of what they can add at most. As soon as those that are left cannot lift a row
        that has not been seen to the k-th best sum so far, they are read for the seen rows only, and rows that they
        cannot lift there drop out (MaxScore: Turtle and Flood, "Query evaluation: strategies and optimizations",
        1995). Words of negative weight come first: after them sums only grow.
        """
        import numpy as np

        bounds = {word: max(0.0, weight * float(self._maxima[word])) for word, weight in asked}
        slack = _SLACK * sum(abs(weight) * float(self._maxima[word]) for word, weight in asked)
        order = sorted(asked, key=lambda pair: (pair[1] > 0, -bounds[pair[0]]))
        left = sum(bounds.values())
        sums, seen = np.zeros(self._total, np.float32), np.zeros(self._total, np.bool_)
        parts: list[NDArray[np.int32]] = []
        count = done = 0
        for word, weight in order:
            column, values = self._column(word)
            if len(column) > max(_SHORT, count // 4) and count >= k and weight > 0:
                reached = sums[np.concatenate(parts)]
                if left + slack < np.partition(reached, count - k)[count - k]:
                    break
            sums[column] += np.float32(weight) * values
            new = column[~seen[column]]
            seen[new] = True
            parts.append(new)
            count += len(new)
            left -= bounds[word]
            done += 1
        rows = np.concatenate(parts)
        rows, reached = _within_reach(rows, sums[rows], k, left + 2 * slack)
        for word, weight in order[done:]:
            reached = reached + np.float32(weight) * self._values(word, rows)
            left -= bounds[word]
            rows, reached = _within_reach(rows, reached, k, left + 2 * slack)
        rows.sort()
        return rows


def _within_reach(
    rows: NDArray[np.int32], sums: NDArray[np.float32], k: int, more: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows, with their sums, that can still come to the k-th best of the sums."""
    import numpy as np

    if len(rows) <= k:
        return rows, sums
    kept = sums + np.float32(more) >= np.partition(sums, len(rows) - k)[len(rows) - k]
    return rows[kept], sums[kept]


class CountingScorer:
    """rank_bm25: word counts of each passage, scored afresh for each query."""

    def __init__(self, model: Any, vocabulary: Mapping[str, int]) -> None:
        self.model = model
        self.vocabulary = vocabulary

    @classmethod
    def write(
        cls, folder: Path, pieces: Iterable[Piece], vocabulary: Mapping[str, int], settings: Bm25Settings
    ) -> None:
        """Save the passages as word numbers."""
        import numpy as np

        words, lengths = zip(*pieces, strict=True)
        np.save(folder / "words.npy", np.concatenate(words), allow_pickle=False)
        np.save(folder / "lengths.npy", np.concatenate(lengths), allow_pickle=False)
        text = json.dumps(list(vocabulary), ensure_ascii=False)
        (folder / "vocabulary.json").write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, settings: Bm25Settings) -> CountingScorer:
        """Count the words again."""
        import numpy as np
        import rank_bm25

        words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        flat = np.load(folder / "words.npy", allow_pickle=False)
        ends = np.cumsum(np.load(folder / "lengths.npy", allow_pickle=False))
        corpus = [row.tolist() for row in np.split(flat, ends[:-1])]
        if settings.variant == "bm25+":
            model = rank_bm25.BM25Plus(corpus, k1=settings.k1, b=settings.b, delta=settings.delta)
        else:
            model = rank_bm25.BM25Okapi(corpus, k1=settings.k1, b=settings.b)
        return cls(model, {word: number for number, word in enumerate(words)})

    def search(self, words: Mapping[str, float], k: int) -> list[tuple[int, float]]:
        """rank_bm25's own scores, word by word."""
        import numpy as np

        asked = sorted(
            (self.vocabulary[word], weight) for word, weight in words.items() if weight and word in self.vocabulary
        )
        numbers = {number for number, _ in asked}
        sharing = [row for row, counts in enumerate(self.model.doc_freqs) if not numbers.isdisjoint(counts)]
        if not sharing or k < 1:
            return []
        scores = np.zeros(len(self.model.doc_freqs))
        for number, weight in asked:
            scores += weight * self.model.get_scores([number])
        return best(scores, np.asarray(sharing, np.int64), k)

    def idf(self, words: Sequence[str]) -> list[float]:
        """rank_bm25's own, with its floor in variant okapi."""
        numbers = (self.vocabulary.get(word) for word in words)
        return [0.0 if number is None else float(self.model.idf[number]) for number in numbers]


def scorer_type(backend: str) -> type[Scorer]:
    """The class of a backend."""
    return {"bm25s": MatrixScorer, "rank_bm25": CountingScorer}[backend]
