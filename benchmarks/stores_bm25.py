"""Query time of the BM25 store against rank_bm25 on synthetic text, one query at a time, same words, same formula."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rank_bm25
from stores_timing import interleaved

from ragdecode.indexing.store import BuildContext, Probe
from ragdecode.indexing.stores.bm25 import Bm25Settings, Bm25Store

VOCABULARY = 200_000


class ZipfTexts:
    """A passage table of 60 to 100 words each, frequencies as in English (Zipf-Mandelbrot); every pass is the same."""

    def __init__(self, passages: int) -> None:
        self._passages = passages
        weights = 1 / (np.arange(VOCABULARY) + 2.7) ** 1.07
        self._sums = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return self._passages

    def texts(self) -> Iterator[str]:
        """The passages."""
        draw = np.random.default_rng(1)
        for _ in range(self._passages):
            yield self.text(draw, 60, 100)

    def text(self, draw: np.random.Generator, least: int, most: int) -> str:
        """A text of so many words."""
        words = np.searchsorted(self._sums, draw.random(int(draw.integers(least, most + 1))))
        return " ".join(f"w{word}" for word in np.minimum(words, VOCABULARY - 1))


def measure(passages: int, queries: int, repeats: int, k: int = 10) -> dict[str, Any]:
    """Medians of seconds a query, their ratio, and the largest difference of the best scores."""
    table = ZipfTexts(passages)
    draw = np.random.default_rng(2)
    asked = [table.text(draw, 5, 12) for _ in range(queries)]
    store = Bm25Store(Bm25Settings(backend="bm25s"))
    with tempfile.TemporaryDirectory() as name:
        context = BuildContext(_no_encoders, lambda stage, done, total: None)
        built = store.build(table, Path(name), context)  # type: ignore[arg-type]
        size = sum(file.stat().st_size for file in Path(name).iterdir())
        ours = store.open(Path(name), built.facts, _no_encoders)
        theirs = rank_bm25.BM25Plus([text.split() for text in table.texts()], k1=1.5, b=0.75, delta=1.0)

        def rank(query: str) -> Any:
            scores = theirs.get_scores(query.split())
            return scores[np.argsort(-scores)[:k]]

        gap = 0.0
        for query in asked:
            best = [score for _, score in ours.search([Probe(query)], k)[0]]
            gap = max(gap, float(np.abs(rank(query)[: len(best)] - best).max(initial=0.0)))
        seconds = interleaved(
            {"bm25s": lambda query: ours.search([Probe(query)], k), "rank_bm25": rank}, asked, repeats
        )
    ratio = seconds["rank_bm25"] / seconds["bm25s"]
    return {"passages": passages, "seconds": seconds, "ratio": ratio, "largest_gap": gap, "bytes": size}


def _no_encoders(model: Any) -> Any:
    raise AssertionError("BM25 needs no encoder")
