"""Later stage: of each passage only the sentences that matter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.errors import RunError
from ragdecode.indexing.bm25.words import splitter
from ragdecode.indexing.hit import Hit
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.excerpt import ELISION, Span, excerpt, sentences
from ragdecode.retrieval.likeness import STORE, Likeness, check_encoder
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.relevance import OwnModel, compile_template
from ragdecode.retrieval.sentence_scores import by_words
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

logger = logging.getLogger(__name__)


class CompressSettings(Settings):
    """How sentences are scored, and how many stay: exactly one of ``sentences``, ``tokens`` and ``ratio``."""

    by: Literal["words", "dense", "query_likelihood"] = "words"
    """``words``: rare words shared with the question; ``dense``: cosine of the vectors of sentence and question;
    ``query_likelihood``: how likely the question is after the sentence, under the pipeline's own model."""
    sentences: int | None = Field(default=None, ge=1)
    """Sentences to keep."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens of the pipeline's own model to keep at most."""
    ratio: float | None = Field(default=None, gt=0, le=1)
    """Share of the characters to keep at most."""
    scope: Literal["all", "each"] = "all"
    """Whether the limit holds for ``all`` passages of a question together, so that a passage may lose all its
    sentences and be dropped, or for ``each``."""
    store: str | None = None
    """For ``dense``: store of the index whose encoder is taken; ``faiss`` if neither this nor an encoder is named."""
    encoder: Annotated[ModelSpec, Reference("models")] | None = None
    """For ``dense``: the encoder, in the place of a store's."""

    @model_validator(mode="after")
    def _fits(self) -> CompressSettings:
        given = [key for key in ("sentences", "tokens", "ratio") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of sentences, tokens, ratio; found {', '.join(given) or 'none'}")
        check_encoder(self.encoder, self.store)
        if self.by != "dense" and (self.encoder or self.store):
            raise ValueError(f"store and encoder have no place with by: {self.by}")
        return self


@dataclass(frozen=True)
class _Sentence:
    """A sentence of a passage: the passage's place in the list, offsets into its text, its own text."""

    passage: int
    span: Span
    text: str


@dataclass(frozen=True)
class _Scored:
    """A sentence with its score and what it takes of the limit."""

    sentence: _Sentence
    score: float
    cost: int


@register("retriever", "compress", CompressSettings)
class CompressStage:
    """Extractive compression: keeps whole sentences, word for word, in the order of the document.

    Gaps are marked by an ellipsis. A passage keeps its id, place and score; its attribute ``kept`` says where in
    the document the kept parts stand. A passage of which nothing is kept is dropped. Of equal sentences the one of
    the better passage, then the earlier one, stays.
    """

    role: Role = "passages"
    ranks_by: RanksBy = "vectors"

    def __init__(self, settings: CompressSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The store whose encoder it takes, if it does."""
        return (self.settings.store or STORE,) if self.settings.by == "dense" and not self.settings.encoder else ()

    @property
    def needs_model(self) -> bool:
        """Whether it scores with the pipeline's language model."""
        return self.settings.by == "query_likelihood"

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages with what is kept of them; sentences of all questions are scored and counted together."""
        split = [_split(found) for found in hits]
        if not any(split):
            return [[] for _ in hits]
        scores = iter(self._scores(queries, hits, split, context))
        costs = iter(self._costs([one.text for own in split for one in own], context))
        refined = []
        for found, own in zip(hits, split, strict=True):
            scored = [_Scored(one, next(scores), next(costs)) for one in own]
            # scores of the same sentence may differ in the last digits with what it was scored beside
            order = sorted(scored, key=lambda each: -round(each.score, 6))
            kept = [each.sentence for group in self._groups(order) for each in self._kept(group, found)]
            refined.append(_shown(found, kept))
        if not any(refined):
            logger.warning("compress: no sentence fits into the limit: all passages are dropped")
        return refined

    def _scores(
        self,
        queries: Sequence[Query],
        hits: Sequence[list[Hit]],
        split: Sequence[list[_Sentence]],
        context: RetrievalContext,
    ) -> list[float]:
        """A score for each sentence, list by list."""
        questions = [query.text for query in queries]
        if self.settings.by == "words":
            words = splitter("none")
            texts = [[one.text for one in own] for own in split]
            return [score for asked, own in zip(questions, texts, strict=True) for score in by_words(asked, own, words)]
        alone = [[_alone(found[one.passage], one) for one in own] for found, own in zip(hits, split, strict=True)]
        if self.settings.by == "dense":
            likeness = Likeness("compress", context, self.settings.encoder, self.settings.store)
            vectors = zip(likeness.of_passages(alone), likeness.of_texts(questions, "query"), strict=True)
            return [float(own @ asked) for of_sentences, asked in vectors for own in of_sentences]
        model = OwnModel("compress", self.settings.by, context)
        return model.query_likelihood(questions, alone, compile_template(None))

    def _costs(self, texts: Sequence[str], context: RetrievalContext) -> list[int]:
        """What each sentence takes of the limit."""
        if self.settings.sentences is not None:
            return [1] * len(texts)
        if self.settings.ratio is not None:
            return [len(text) for text in texts]
        if context.count_tokens is None:
            raise RunError("tokens needs the pipeline's language model, to count", component="retriever compress")
        # with the mark of a gap before it, whether there will be one or not: the limit holds in any case
        return context.count_tokens([ELISION + text for text in texts])

    def _groups(self, order: list[_Scored]) -> list[list[_Scored]]:
        """The sentences that share a limit, best first."""
        if self.settings.scope == "all":
            return [order]
        groups: dict[int, list[_Scored]] = {}
        for each in order:
            groups.setdefault(each.sentence.passage, []).append(each)
        return list(groups.values())

    def _kept(self, order: list[_Scored], hits: Sequence[Hit]) -> list[_Scored]:
        """The best sentences within the limit; one that does not fit is left out, and the next is tried."""
        settings = self.settings
        room = settings.sentences or settings.tokens
        if room is None:
            passages = {each.sentence.passage for each in order}
            room = int((settings.ratio or 1.0) * sum(len(hits[at].passage.text) for at in passages))
        kept = []
        for each in order:
            if each.cost <= room:
                kept.append(each)
                room -= each.cost
        return kept


def _split(hits: Sequence[Hit]) -> list[_Sentence]:
    return [
        _Sentence(at, (start, end), hit.passage.text[start:end])
        for at, hit in enumerate(hits)
        for start, end in sentences(hit.passage)
    ]


def _alone(hit: Hit, sentence: _Sentence) -> Hit:
    """The sentence as a passage of its own, which no row of the index holds."""
    return replace(hit, passage=replace(hit.passage, text=sentence.text), row=None)


def _shown(hits: Sequence[Hit], kept: Sequence[_Sentence]) -> list[Hit]:
    shown = []
    for at, hit in enumerate(hits):
        parts = sorted(one.span for one in kept if one.passage == at)
        if parts:
            passage = excerpt(hit.passage, parts)
            # what is left of it is no longer the passage of that row
            shown.append(hit if passage == hit.passage else replace(hit, passage=passage, row=None))
    return shown
