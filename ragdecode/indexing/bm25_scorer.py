"""The two BM25 backends behind one contract."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.stores.bm25 import Bm25Settings


class Scorer(Protocol):
    """Scores all passages for a query."""

    @classmethod
    def write(cls, folder: Path, rows: list[list[int]], vocabulary: Mapping[str, int], settings: Bm25Settings) -> None:
        """Write the data files for passages given as word numbers."""
        ...

    @classmethod
    def read(cls, folder: Path, settings: Bm25Settings) -> Scorer:
        """Open the data files."""
        ...

    def score(self, words: Sequence[str]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Scores of all rows ``[n]``, and the rows that share a word with the query ``[m]``, ascending."""
        ...


class MatrixScorer:
    """bm25s: a sparse matrix of scores, memory-mapped; a query sums its words' columns."""

    def __init__(self, retriever: Any) -> None:
        self.retriever = retriever

    @classmethod
    def write(cls, folder: Path, rows: list[list[int]], vocabulary: Mapping[str, int], settings: Bm25Settings) -> None:
        """Compute the matrix and save it as arrays and JSON."""
        bm25s = _bm25s()
        retriever = bm25s.BM25(
            k1=settings.k1, b=settings.b, delta=settings.delta, method=settings.variant, backend="numpy"
        )
        retriever.index((rows, dict(vocabulary)), create_empty_token=False, show_progress=False)
        retriever.save(folder, show_progress=False)

    @classmethod
    def read(cls, folder: Path, settings: Bm25Settings) -> MatrixScorer:
        """Map the arrays."""
        bm25s = _bm25s()
        return cls(bm25s.BM25.load(folder, mmap=True, show_progress=False))

    def score(self, words: Sequence[str]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Sum of the words' columns."""
        import numpy as np

        known = self.retriever.get_tokens_ids(list(words))
        if not known:
            return np.zeros(self.retriever.scores["num_docs"], np.float32), np.empty(0, np.int64)
        starts, columns = self.retriever.scores["indptr"], self.retriever.scores["indices"]
        sharing = [columns[starts[word] : starts[word + 1]] for word in sorted(set(known))]
        return self.retriever.get_scores_from_ids(known), np.unique(np.concatenate(sharing)).astype(np.int64)


class CountingScorer:
    """rank_bm25: word counts of each passage, scored afresh for each query."""

    def __init__(self, model: Any, vocabulary: Mapping[str, int]) -> None:
        self.model = model
        self.vocabulary = vocabulary

    @classmethod
    def write(cls, folder: Path, rows: list[list[int]], vocabulary: Mapping[str, int], settings: Bm25Settings) -> None:
        """Save the passages as word numbers."""
        import numpy as np

        flat = np.fromiter((word for row in rows for word in row), np.int32)
        lengths = np.fromiter((len(row) for row in rows), np.int32)
        np.save(folder / "words.npy", flat, allow_pickle=False)
        np.save(folder / "lengths.npy", lengths, allow_pickle=False)
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

    def score(self, words: Sequence[str]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """rank_bm25's own scores."""
        import numpy as np

        known = [self.vocabulary[word] for word in words if word in self.vocabulary]
        asked = set(known)
        sharing = [row for row, counts in enumerate(self.model.doc_freqs) if not asked.isdisjoint(counts)]
        return self.model.get_scores(known), np.asarray(sharing, np.int64)


def _bm25s() -> Any:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
    return bm25s


def scorer_type(backend: str) -> type[Scorer]:
    """The class of a backend."""
    return {"bm25s": MatrixScorer, "rank_bm25": CountingScorer}[backend]
