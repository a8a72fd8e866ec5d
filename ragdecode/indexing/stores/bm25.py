"""BM25: ranking by shared words."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ragdecode.indexing.bm25.words import splitter
from ragdecode.indexing.store import Built, Need, RanksBy
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ragdecode.indexing.bm25.matrix import Piece
    from ragdecode.indexing.bm25.scorer import Scorer
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders, Probe

#: up to so many passages ``backend: auto`` takes the small-corpus backend
SMALL = 1000

#: words of passages that are worked on at once
PIECE = 1 << 19

#: Snowball's languages
Stemmer = Literal[
    "none", "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian",
    "italian", "norwegian", "porter", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil",
    "turkish",
]  # fmt: skip
#: languages of bm25s's lists of common words
StopWords = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian",
    "spanish", "swedish", "turkish",
]  # fmt: skip

#: backends that define each variant
BACKENDS = {"bm25+": ("rank_bm25", "bm25s"), "lucene": ("bm25s",), "okapi": ("rank_bm25",)}


class Bm25Settings(Settings):
    """Formula, backend and treatment of words."""

    variant: Literal["bm25+", "lucene", "okapi"] = "bm25+"
    """Formula. Both backends define ``bm25+`` alike; ``lucene`` is bm25s's, ``okapi`` (with its floor under
    negative idf) rank_bm25's."""
    backend: Literal["auto", "bm25s", "rank_bm25"] = "auto"
    """bm25s sums columns of its sparse matrix, for large corpora; rank_bm25 counts afresh, for small ones. ``auto``:
    rank_bm25 up to 1000 passages where it has the variant."""
    k1: float = Field(default=1.5, ge=0.0, le=10.0)
    """How slowly repetitions of a word saturate."""
    b: float = Field(default=0.75, ge=0.0, le=1.0)
    """How much long passages are marked down."""
    delta: float = Field(default=1.0, ge=0.0, le=10.0)
    """What one occurrence is worth in a passage of any length; in ``bm25+`` only."""
    stemmer: Stemmer = "none"
    """Snowball language whose endings are cut off, so that *index* finds *indexes*; ``none`` compares whole words."""

    stop_words: StopWords = "none"
    """Language whose most common words are left out of passages and questions (the lists of bm25s)."""

    @model_validator(mode="after")
    def _consistent(self) -> Bm25Settings:
        if self.backend not in ("auto", *BACKENDS[self.variant]):
            raise ValueError(
                f"variant {self.variant} is defined by {' and '.join(BACKENDS[self.variant])} only, "
                f"not by backend {self.backend}"
            )
        if self.variant != "bm25+" and "delta" in self.model_fields_set and self.delta != 1.0:
            raise ValueError(f"delta has no place in variant {self.variant}; it belongs to bm25+")
        return self

    def backend_for(self, passages: int) -> str:
        """The backend for a corpus of that size."""
        if self.backend != "auto":
            return self.backend
        fitting = BACKENDS[self.variant]
        return fitting[0] if passages <= SMALL else fitting[-1]


@register("store", "bm25", Bm25Settings)
class Bm25Store:
    """Ranking by shared words (BM25+ unless told otherwise)."""

    ranks_by: RanksBy = "words"

    def __init__(self, settings: Bm25Settings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Count words and write the backend's files."""
        from ragdecode.indexing.bm25.scorer import scorer_type

        vocabulary: dict[str, int] = {}
        backend = self.settings.backend_for(len(passages))
        pieces = self._pieces(passages, vocabulary, lambda done: context.progress("bm25", done, len(passages)))
        scorer_type(backend).write(folder, pieces, vocabulary, self.settings)
        if not vocabulary:  # a corpus of punctuation has no words, and no statistics of them
            for file in folder.iterdir():
                file.unlink()
        facts = {"backend": backend, "words": len(vocabulary)}
        return Built(facts, f"{len(vocabulary)} words, scored by {backend}")

    def _pieces(
        self, passages: PassageTable, vocabulary: dict[str, int], progress: Callable[[int], None]
    ) -> Iterator[Piece]:
        """The passages as word numbers, some at a time; new words are added to the vocabulary."""
        import numpy as np

        words_of = splitter(self.settings.stemmer, self.settings.stop_words)
        flat, lengths = array("i"), array("i")
        for done, text in enumerate(passages.texts(), start=1):
            words = words_of(text)
            flat.extend([vocabulary.setdefault(word, len(vocabulary)) for word in words])
            lengths.append(len(words))
            if done % 1000 == 0 or done == len(passages):
                progress(done)
            if len(flat) >= PIECE or done == len(passages):
                yield np.array(flat, np.int32), np.array(lengths, np.int32)
                del flat[:], lengths[:]

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """What real English text takes: a word for 6 characters, of which three quarters are new to their passage."""
        words = characters // 6
        vocabulary = min(words, int(20 * words**0.55))  # Heaps' law, on the safe side
        if self.settings.backend_for(passages) == "rank_bm25":
            return Need(4 * (words + passages) + 12 * vocabulary, 8 * words + 150 * vocabulary)
        entries = words * 3 // 4
        # 8 bytes an entry stay; 12 more are on disk while the matrix is filled, whose pages are in memory
        return Need(20 * entries + 40 * vocabulary, 8 * entries + 150 * vocabulary + 64 * PIECE)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Always: there is no model in it."""
        return True

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> Bm25Searcher:
        """Open the backend's files."""
        from ragdecode.indexing.bm25.scorer import scorer_type

        scorer = scorer_type(facts["backend"]).read(folder, self.settings) if facts["words"] else None
        return Bm25Searcher(scorer, splitter(self.settings.stemmer, self.settings.stop_words))


class Bm25Searcher:
    """An open BM25 store; a searcher of the `Words` protocol."""

    def __init__(self, scorer: Scorer | None, words_of: Callable[[str], list[str]]) -> None:
        self._scorer = scorer
        self._words_of = words_of

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """Rows that share at least one word with the query, best first; ties with the k-th included.

        A word counts as often as it stands in the query, or with the probe's weight; weight 0 leaves it out.
        """
        if self._scorer is None:
            return [[] for _ in probes]
        asked = [Counter(self._words_of(probe.text)) if probe.words is None else probe.words for probe in probes]
        return [self._scorer.search(words, k) for words in asked]

    def words(self, text: str) -> list[str]:
        """The words of a text in the form in which they are compared."""
        return self._words_of(text)

    def idf(self, words: Sequence[str]) -> list[float]:
        """How rare each word is in the index, as the variant defines it; 0 for words that it does not have."""
        return [0.0] * len(words) if self._scorer is None else self._scorer.idf(words)
