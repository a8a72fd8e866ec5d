"""Query stage: the question with the words of the passages that it finds first (RM3)."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from ragdecode.errors import InputError
from ragdecode.indexing.hit import Hit
from ragdecode.indexing.store import Probe, RanksBy, Words
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_log = logging.getLogger(__name__)
#: shorter words say little, longer ones are hardly words; scripts that write a word with one character are not meant
_SHORTEST, _LONGEST = 2, 20


class Rm3Settings(Settings):
    """Which passages lend how many words, and what they weigh."""

    store: str = "bm25"
    """Store that ranks by words, searched twice."""
    fb_docs: int = Field(default=10, ge=1, le=1000)
    """Best passages of the first search, whose words are looked at."""
    fb_terms: int = Field(default=10, ge=1, le=1000)
    """Words that are taken from them."""
    original_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the question's own words; the words taken get the rest. 1 changes no ranking."""
    common: float = Field(default=0.1, gt=0.0, le=1.0)
    """Words in more than about this share of all passages are not taken: ``the`` and its like. Judged by the store's
    idf, which must be at least ``-log(common)``."""


@register("retriever", "rm3", Rm3Settings)
class Rm3Stage:
    """Weighs the question's words, and words of the best passages that they find, for the search proper.

    The relevance model of Lavrenko and Croft (SIGIR 2001), mixed with the question as RM3 (Abdul-Jaleel et al., TREC
    2004). Estimated as in Anserini: a passage's words that are neither common nor shorter than 2 or longer than 20
    characters are cut to the ``fb_terms`` most frequent; ``P(w | R)`` is proportional to the sum over passages of
    ``count(w) / sum of counts left * score``, where the score is the plain one of the first search (not a softmax of
    it); the ``fb_terms`` most probable words are kept and made to sum to 1. With ``P(w | Q) = count(w) / length of the
    question``, a word weighs ``original_weight P(w | Q) + (1 - original_weight) P(w | R)``.
    """

    role: Role = "query"
    ranks_by: RanksBy = "words"
    needs_model = False

    def __init__(self, settings: Rm3Settings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The store of words."""
        return (self.settings.store,)

    def rework(self, queries: Sequence[Query], context: RetrievalContext) -> list[Query]:
        """The queries with weights of words for the store; one search for all.

        Raises:
            InputError: The store does not rank by words, or does not let them be weighed.
        """
        index, store = context.opened("rm3"), self.settings.store
        searcher = index.searcher(store)
        if not isinstance(searcher, Words):
            raise InputError(
                f"rm3 weighs words, but the store {store!r} does not let its words be weighed",
                hint="name a store of kind bm25: rm3: {store: bm25}",
            )
        found = index.search(store, [Probe(query.text) for query in queries], self.settings.fb_docs)
        return [
            self._expanded(query, _shares(Counter(searcher.words(query.text))), self._relevance(hits, searcher))
            for query, hits in zip(queries, found, strict=True)
        ]

    def _expanded(self, query: Query, own: Mapping[str, float], taken: Mapping[str, float]) -> Query:
        """The query with its words mixed; a question that found nothing to learn from keeps its own."""
        if not taken:
            return query
        weight = self.settings.original_weight
        mixed = {
            word: weight * own.get(word, 0.0) + (1 - weight) * taken.get(word, 0.0)
            for word in dict.fromkeys([*own, *taken])
        }
        words = {word: value for word, value in mixed.items() if value > 0}
        _log.debug("rm3: %r is searched as %s", query.text, words)
        return replace(query, words={**query.words, self.settings.store: words})

    def _relevance(self, hits: Sequence[Hit], searcher: Words) -> dict[str, float]:
        """The relevance model: words of the passages with their probabilities."""
        counted = [(Counter(searcher.words(hit.passage.text)), max(hit.score, 0.0)) for hit in hits]
        known = list(dict.fromkeys(word for counts, _ in counted for word in counts))
        # a little slack, so that a word at the border does not depend on how the logarithm was rounded
        least = -math.log(self.settings.common) - 1e-9
        telling = {
            word for word, idf in zip(known, searcher.idf(known), strict=True) if idf >= least and _fitting(word)
        }
        model: Counter[str] = Counter()
        for counts, score in counted:
            for word, share in _shares(self._cut(counts, telling.__contains__)).items():
                model[word] += share * score  # type: ignore[assignment]
        return _shares(self._cut(model, lambda word: model[word] > 0))

    def _cut(self, weights: Mapping[str, float], keep: Callable[[str], bool]) -> dict[str, float]:
        """The heaviest words of those to keep; equal ones in order of the alphabet."""
        best = sorted((item for item in weights.items() if keep(item[0])), key=lambda item: (-item[1], item[0]))
        return dict(best[: self.settings.fb_terms])


def _fitting(word: str) -> bool:
    return len(word) <= _LONGEST and (len(word) >= _SHORTEST or not word.isascii())


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights, made to sum to 1."""
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total > 0 else {}
