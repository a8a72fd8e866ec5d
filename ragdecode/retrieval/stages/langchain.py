"""First stage: any LangChain retriever or vector store, with or without an index of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from ragdecode.documents.encoding import clean
from ragdecode.documents.passage import Passage, passage_id
from ragdecode.documents.records import scalars
from ragdecode.errors import RagDecodeError, RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role, fused
from ragdecode.spec.class_path import check_class
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

#: a passage's own fields, where documents carry them
_PLACE = ("source", "page", "heading", "start", "end", "tokens", "record")
#: what retrievers call the score that they leave in the metadata
_SCORES = ("score", "relevance_score")
_WHERE = "retriever langchain"
#: characters of metadata: there is one passage that carries them
_UNBOUNDED = 10**9


class LangChainStageSettings(Settings):
    """A class, its arguments, and how many passages."""

    retriever: str | None = None
    """Class that derives from LangChain's ``BaseRetriever``: ``package.module.Class``, or a name in
    ``langchain_community.retrievers``."""
    vector_store: str | None = None
    """Class that derives from LangChain's ``VectorStore``, in the place of a retriever: ``package.module.Class``, or a
    name in ``langchain_community.vectorstores``."""
    constructor: str = Field(default="", pattern="^(from_[a-z_]+)?$")
    """Class method that makes it, such as ``from_texts``; the class itself if left out."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments. ``{class: ..., arguments: ...}`` stands for another LangChain object, ``{encoder: true}`` for
    the encoder as embeddings. No secrets: leave those to the environment variables that the class reads."""
    encoder: Annotated[ModelSpec | None, Reference("models")] = None
    """Sentence encoder that ``{encoder: true}`` stands for."""
    search: Literal["similarity", "mmr"] = "similarity"
    """How a vector store is searched; ``mmr`` prefers passages that differ from one another."""
    search_arguments: dict[str, Any] = Field(default_factory=dict)
    """What a vector store's search takes besides ``k``, such as ``filter`` or ``fetch_k``."""
    top_k: int = Field(default=8, ge=1)
    """Passages to find; a retriever with an argument ``k`` gets it too."""
    trust: bool = False
    """Also classes of packages that are not LangChain's. It runs that package's code."""

    @model_validator(mode="after")
    def _fits(self) -> LangChainStageSettings:
        if (self.retriever is None) == (self.vector_store is None):
            raise ValueError("expected one of retriever and vector_store")
        named = "retriever" if self.retriever is not None else "vector_store"
        check_class(named, self.retriever or self.vector_store or "", self.arguments, trust=self.trust)
        if self.retriever is not None and (self.search != "similarity" or self.search_arguments):
            raise ValueError("search and search_arguments have no place with a retriever; they belong to vector_store")
        if self.encoder is not None and self.encoder.kind != "encoder":
            raise ValueError(f"'{self.encoder.name}' is a model of kind {self.encoder.kind}, not encoder")
        if self.encoder is None and _asks_for_encoder(self.arguments):
            raise ValueError("{encoder: true} stands for the encoder, which is not named: set encoder")
        return self


@register("retriever", "langchain", LangChainStageSettings)
class LangChainStage:
    """Finds passages with any LangChain retriever or vector store; it needs no index."""

    role: Role = "find"
    stores: tuple[str, ...] = ()
    needs_model = False

    def __init__(self, settings: LangChainStageSettings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._made: BaseRetriever | None = None

    def find(self, queries: Sequence[Query], context: RetrievalContext) -> list[list[Hit]]:
        """What the retriever finds, in its order; all questions and their variants in one batch."""
        probes = [query.probes("langchain") for query in queries]
        texts = [probe.text for group in probes for probe in group]
        found = iter(self._ask(self._retriever(context), texts))
        rankings = [[_hits(next(found), self.settings.top_k, context) for _ in group] for group in probes]
        top = self.settings.top_k
        return [group[0] if len(group) == 1 else fused(group, "langchain", top) for group in rankings]

    def _retriever(self, context: RetrievalContext) -> BaseRetriever:
        with self._lock:
            if self._made is None:
                self._made = self._make(context)
            return self._made

    def _make(self, context: RetrievalContext) -> BaseRetriever:
        from ragdecode.indexing.langchain.embeddings import as_embeddings
        from ragdecode.retrieval.langchain_objects import RETRIEVER, VECTOR_STORE, Maker

        settings = self.settings

        def embeddings() -> Any:
            if context.encoders is None or settings.encoder is None:
                raise RunError("its encoder needs models to be loaded", component=_WHERE)
            return as_embeddings(context.encoders(settings.encoder))

        maker = Maker(_WHERE, settings.trust, embeddings)
        if settings.vector_store is not None:
            store = maker.make(
                VECTOR_STORE, settings.vector_store, settings.arguments, settings.constructor, "vector_store"
            )
            arguments = {"k": settings.top_k, **settings.search_arguments}
            retriever: BaseRetriever = store.as_retriever(search_type=settings.search, search_kwargs=arguments)
            return retriever
        assert settings.retriever is not None
        retriever = maker.make(RETRIEVER, settings.retriever, settings.arguments, settings.constructor, "retriever")
        if "k" in type(retriever).model_fields and "k" not in settings.arguments:
            with suppress(ValueError):  # it may be frozen
                setattr(retriever, "k", settings.top_k)  # noqa: B010
        return retriever

    def _ask(self, retriever: BaseRetriever, texts: list[str]) -> list[list[Document]]:
        try:
            return retriever.batch(texts)
        except RagDecodeError:
            raise
        except Exception as error:  # a package can fail in any way
            text = " ".join(str(error).split())[:300]
            name = self.settings.retriever or self.settings.vector_store
            raise RunError(f"{name} failed: {type(error).__name__}: {text}", component=_WHERE) from error


def _asks_for_encoder(value: Any) -> bool:
    if isinstance(value, dict):
        return value == {"encoder": True} or any(map(_asks_for_encoder, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_asks_for_encoder, value))


def _hits(documents: Sequence[Document], k: int, context: RetrievalContext) -> list[Hit]:
    """Documents as hits in their order, each once."""
    unique: dict[str, Passage] = {}
    scores: list[float | None] = []
    for document in documents:
        passage = _passage(document)
        if passage.id not in unique and len(unique) < k:
            unique[passage.id] = passage
            scores.append(_score(document))
    passages = list(unique.values())
    if any(passage.tokens == 0 for passage in passages) and context.count_tokens is not None:
        counts = context.count_tokens([passage.text for passage in passages])
        passages = [replace(passage, tokens=count) for passage, count in zip(passages, counts, strict=True)]
    # a distance grows where a score falls, so that only what falls with the rank is a score
    given = [score for score in scores if score is not None]
    falling = len(given) == len(scores) and all(one > other for one, other in pairwise(given))
    ranks = given if falling else [1 / rank for rank in range(1, len(passages) + 1)]
    return [Hit(passage, score, {"langchain": score}) for passage, score in zip(passages, ranks, strict=True)]


def _score(document: Document) -> float | None:
    for name in _SCORES:
        value = document.metadata.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _passage(document: Document) -> Passage:
    """A document as a passage: its place as far as its metadata tell it, the other plain values as attributes."""
    text, metadata = clean(document.page_content), document.metadata

    def number(name: str) -> int | None:
        value = metadata.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def name(key: str) -> str:
        return clean(str(metadata.get(key) or ""))

    source, start = name("source"), number("start") or 0
    named = document.id or metadata.get("id")
    attributes = scalars(((str(key), value) for key, value in metadata.items() if key not in _PLACE), _UNBOUNDED)
    return Passage(
        id=clean(str(named)) if named else passage_id(source, start, text),
        text=text,
        source=source,
        page=number("page"),
        heading=name("heading"),
        start=start,
        end=number("end") or start + len(text),
        tokens=number("tokens") or 0,
        record=name("record"),
        attributes=attributes,
    )
