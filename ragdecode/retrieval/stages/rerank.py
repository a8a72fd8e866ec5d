"""Later stage: passages scored against the question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit, best_first, ranked
from ragdecode.indexing.store import RanksBy
from ragdecode.retrieval.likeness import STORE, Likeness, check_encoder
from ragdecode.retrieval.listwise import MOST, listwise
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.relevance import QUESTION_TOKENS, OwnModel, compile_template
from ragdecode.retrieval.scores import checked
from ragdecode.retrieval.shorten import first_sentences
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.documents.passage import Passage

_OWN = ("query_likelihood", "yes_no", "listwise")


class RerankSettings(Settings):
    """By what, and how many stay."""

    by: Literal["query_likelihood", "yes_no", "listwise", "cosine"] | Annotated[ModelSpec, Reference("models")] = (
        "query_likelihood"
    )
    """``query_likelihood`` asks the pipeline's own language model how likely the question is after the passage,
    ``yes_no`` whether the passage answers it, ``listwise`` for a ranking of all passages at once; ``cosine`` compares
    the vectors of question and passage; or the name of a cross-encoder."""
    top_k: int = Field(default=4, ge=1)
    """Passages to keep."""
    template: str | None = Field(default=None, min_length=1)
    """Jinja template over ``text``, ``source`` and ``heading`` that comes before the question; for
    ``query_likelihood``. A built-in one if left out."""
    question_tokens: int = Field(default=QUESTION_TOKENS, ge=1)
    """Of a longer question the pipeline's own model scores only the last so many tokens."""
    depth: int = Field(default=8, ge=2, le=MOST)
    """For ``listwise``: so many passages, the best ones, are ranked; the others follow in their order."""
    passage_tokens: int = Field(default=100, ge=1)
    """For ``listwise``: longer passages are shown to the ranking model up to the last sentence that fits."""
    store: str | None = None
    """For ``cosine``: store of the index whose vectors are compared; ``faiss`` if neither this nor an encoder is
    named."""
    encoder: Annotated[ModelSpec, Reference("models")] | None = None
    """For ``cosine``: encoder that makes the vectors anew, in the place of a store's."""

    @model_validator(mode="after")
    def _fits(self) -> RerankSettings:
        way = self.by
        if isinstance(way, ModelSpec):
            if way.kind != "cross_encoder":
                raise ValueError(
                    f"by: expected {', '.join((*_OWN, 'cosine'))} or a model of kind cross_encoder, not {way.kind}"
                )
            way = "a cross-encoder"  # type: ignore[assignment]
        for key, ways in (
            ("template", ("query_likelihood",)),
            ("question_tokens", _OWN),
            ("depth", ("listwise",)),
            ("passage_tokens", ("listwise",)),
            ("store", ("cosine",)),
            ("encoder", ("cosine",)),
        ):
            # defaults may be written out: `explain` does so
            if way not in ways and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no place with {way}; it belongs to {', '.join(ways)}")
        check_encoder(self.encoder, self.store)
        if self.template is not None:
            compile_template(self.template)
        return self


@register("retriever", "rerank", RerankSettings)
class RerankStage:
    """Reorders passages: by the pipeline's own model, by vectors, or by a cross-encoder."""

    role: Role = "passages"
    ranks_by: RanksBy = "vectors"

    def __init__(self, settings: RerankSettings) -> None:
        self.settings = settings

    @property
    def stores(self) -> tuple[str, ...]:
        """The store whose vectors it takes, if it does."""
        return (self.settings.store or STORE,) if self.settings.by == "cosine" and not self.settings.encoder else ()

    @property
    def needs_model(self) -> bool:
        """Whether it scores with the pipeline's language model."""
        return self.settings.by in _OWN

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The best of the candidates; all pairs of all queries are scored together."""
        hits = [[found[at] for at in best_first(found)] for found in hits]  # a list is read from its beginning
        by = self.settings.by
        name = "cross_encoder" if isinstance(by, ModelSpec) else by
        each = iter(self._scores([query.text for query in queries], hits, context))
        return [
            ranked(
                (hit.rescored(name, score) for hit, score in zip(found, islice(each, len(found)), strict=True)),
                self.settings.top_k,
            )
            for found in hits
        ]

    def _scores(
        self, questions: Sequence[str], hits: Sequence[list[Hit]], context: RetrievalContext
    ) -> Sequence[float]:
        """A score for each hit, list by list."""
        settings = self.settings
        if isinstance(settings.by, ModelSpec):
            return self._by_cross_encoder(settings.by, questions, hits, context)
        if settings.by == "cosine":
            return self._by_cosine(questions, hits, context)
        model = OwnModel("rerank", settings.by, context, settings.question_tokens)
        if settings.by == "yes_no":
            return model.yes_no(questions, hits)
        if settings.by == "listwise":
            return self._by_list(model, questions, hits, context)
        return model.query_likelihood(questions, hits, compile_template(settings.template))

    def _by_cross_encoder(
        self, model: ModelSpec, questions: Sequence[str], hits: Sequence[list[Hit]], context: RetrievalContext
    ) -> list[float]:
        if context.cross_encoders is None:
            raise RunError("rerank by a cross-encoder needs models to be loaded", component="retriever rerank")
        pairs = [(question, hit.passage.text) for question, found in zip(questions, hits, strict=True) for hit in found]
        return checked(context.cross_encoders(model)(pairs), len(pairs), "rerank") if pairs else []

    def _by_cosine(self, questions: Sequence[str], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[float]:
        if not any(hits):
            return []
        likeness = Likeness("rerank", context, self.settings.encoder, self.settings.store)
        vectors = zip(likeness.of_passages(hits), likeness.of_texts(questions, "query"), strict=True)
        return [float(own @ question) for passages, question in vectors for own in passages]

    def _by_list(
        self, model: OwnModel, questions: Sequence[str], hits: Sequence[list[Hit]], context: RetrievalContext
    ) -> list[float]:
        """Scores are reciprocal ranks."""
        depth = self.settings.depth
        shown = [self._shown([hit.passage for hit in found[:depth]], context) for found in hits]
        scores = []
        for found, order in zip(hits, listwise(model, questions, shown), strict=True):
            places = [*order, *range(len(order), len(found))]
            rank = {place: at for at, place in enumerate(places, start=1)}
            scores += [1.0 / rank[at] for at in range(len(found))]
        return scores

    def _shown(self, passages: Sequence[Passage], context: RetrievalContext) -> list[str]:
        """What the ranking model sees of the passages."""
        limit = self.settings.passage_tokens
        count = context.count_tokens or (lambda texts: [len(text.split()) for text in texts])
        short = first_sentences(passages, [limit] * len(passages), count)
        return [(cut or passage).text for cut, passage in zip(short, passages, strict=True)]
