"""BM25: ranking by shared words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ragdecode.indexing.store import Built, Need
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ragdecode.indexing.bm25_scorer import Scorer
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders, Probe

#: up to so many passages ``backend: auto`` takes the small-corpus backend
SMALL = 1000

#: backends that define each variant
BACKENDS = {"bm25+": ("rank_bm25", "bm25s"), "lucene": ("bm25s",), "okapi": ("rank_bm25",)}


class Bm25Settings(Settings):
    """Formula, backend and treatment of words."""

    variant: Literal["bm25+", "lucene", "okapi"] = "bm25+"
    """Formula. Both backends define ``bm25+`` alike; ``lucene`` is bm25s's, ``okapi`` (with its floor under
    negative idf) rank_bm25's."""
    backend: Literal["auto", "bm25s", "rank_bm25"] = "auto"
    """bm25s scores from a sparse matrix, for large corpora; rank_bm25 counts afresh, for small ones. ``auto``:
    rank_bm25 up to 1000 passages where it has the variant."""
    k1: float = Field(default=1.5, ge=0.0, le=10.0)
    """How slowly repetitions of a word saturate."""
    b: float = Field(default=0.75, ge=0.0, le=1.0)
    """How much long passages are marked down."""
    delta: float = Field(default=1.0, ge=0.0, le=10.0)
    """What one occurrence is worth in a passage of any length; in ``bm25+`` only."""
    stemmer: Literal[
        "none", "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian",
        "italian", "norwegian", "porter", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil",
        "turkish",
    ] = "none"  # fmt: skip
    """Snowball language whose endings are cut off, so that *index* finds *indexes*; ``none`` compares whole words."""

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

    def __init__(self, settings: Bm25Settings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Count words and write the backend's files."""
        from ragdecode.indexing.bm25_scorer import scorer_type
        from ragdecode.indexing.words import splitter

        words_of = splitter(self.settings.stemmer)
        vocabulary: dict[str, int] = {}
        rows: list[list[int]] = []
        for done, text in enumerate(passages.texts(), start=1):
            rows.append([vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)])
            if done % 1000 == 0 or done == len(passages):
                context.progress("bm25", done, len(passages))
        backend = self.settings.backend_for(len(passages))
        if vocabulary:  # a corpus of punctuation has no words, and no statistics of them
            scorer_type(backend).write(folder, rows, vocabulary, self.settings)
        facts = {"backend": backend, "words": len(vocabulary)}
        return Built(facts, f"{len(vocabulary)} words, scored by {backend}")

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """About a score for every six characters of text, with its row."""
        entries = characters // 6
        return Need(8 * entries, 24 * entries)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Always: there is no model in it."""
        return True

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> Bm25Searcher:
        """Open the backend's files."""
        from ragdecode.indexing.bm25_scorer import scorer_type
        from ragdecode.indexing.words import splitter

        scorer = scorer_type(facts["backend"]).read(folder, self.settings) if facts["words"] else None
        return Bm25Searcher(scorer, splitter(self.settings.stemmer))


class Bm25Searcher:
    """An open BM25 store."""

    def __init__(self, scorer: Scorer | None, words_of: Callable[[str], list[str]]) -> None:
        self.scorer = scorer
        self.words_of = words_of

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """Rows that share at least one word with the query, best first; ties with the k-th included."""
        from ragdecode.indexing.selection import best

        found: list[list[tuple[int, float]]] = []
        for probe in probes:
            if self.scorer is None:
                found.append([])
                continue
            scores, shares = self.scorer.score(self.words_of(probe.text))
            found.append(best(scores, shares, k))
        return found
