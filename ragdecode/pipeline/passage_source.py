"""Finds the passages of a pipeline's questions: its index, brought up to date and opened once, and its chain."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ragdecode.errors import InputError
from ragdecode.models.progress import Progress, silent
from ragdecode.pipeline.generation import Writer
from ragdecode.pipeline.likelihood import QueryLikelihood
from ragdecode.pipeline.models import PipelineModels
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.views import MAIN
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.load import LoadedPipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.documents.inventory import Inventory
    from ragdecode.indexing.estimate import Estimate
    from ragdecode.indexing.hit import Hit
    from ragdecode.indexing.index import Index
    from ragdecode.indexing.memory.datastore import MemoryDatastore
    from ragdecode.indexing.memory.key_model import KeyModel
    from ragdecode.indexing.models import IndexModels
    from ragdecode.indexing.report import BuildReport
    from ragdecode.indexing.store import Encoder
    from ragdecode.indexing.tokens.datastore import TokenDatastore
    from ragdecode.pipeline.passage_keys import PassageEncoder
    from ragdecode.retrieval.chain import Retrieval, RetrievalChain
    from ragdecode.retrieval.query import Query
    from ragdecode.retrieval.stage import Entailment, PairScorer
    from ragdecode.spec.model import ModelSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What retrieval has for a question.

    Attributes:
        passages: Best first.
        notes: What was searched, where that is not the question as asked.
    """

    passages: tuple[Passage, ...]
    notes: tuple[str, ...] = ()


class PassageSource:
    """The retrieval side of a pipeline; empty where the pipeline has no ``retrieve``.

    Args:
        loaded: The pipeline.
        models: Its language models, for counting tokens and for query likelihood.
        docs: Folder or file that takes the place of ``index.corpus.path``; its index lives in the cache folder.
        fetch: Fetch weights of encoders that are not on this machine.
        progress: Told what a build does.
        build: Bring the index up to date; otherwise it is taken as it is.

    Raises:
        InputError: ``docs`` is given and the pipeline has no index, or it is not there.
    """

    def __init__(
        self,
        loaded: LoadedPipeline,
        models: PipelineModels,
        *,
        docs: Path | None = None,
        fetch: bool = False,
        progress: Progress = silent,
        build: bool = True,
    ) -> None:
        self._build = build
        self._loaded = loaded if docs is None else _over(loaded, docs)
        self._models = models
        self._fetch = fetch
        self._progress = progress
        self._lock = threading.RLock()
        self._cross_encoder = cache(self._load_cross_encoder)
        self._entailment = cache(self._load_entailment)

    @property
    def empty(self) -> bool:
        """Whether the pipeline has nothing to search: the passages come with the request."""
        return not self._loaded.spec.retrieve

    def open(self) -> None:
        """Open the index, brought up to date unless it is to be taken as it is; counts as loading.

        Raises:
            InputError: The corpus is empty or cannot be read, or weights are missing.
            RunError: The index cannot be written.
        """
        if not self.empty and "_chain" not in self.__dict__:
            with self._lock, self._models.loading():
                _ = self._chain

    def find(self, questions: Sequence[str], histories: Sequence[Sequence[Turn]]) -> list[Found]:
        """What is found for each question; all questions are searched at once.

        Raises:
            InputError: Weights are missing.
            RunError: The index is damaged, or memory ran out.
        """
        if self.empty:
            return [Found(()) for _ in questions]
        outcome = self.run(
            [(question, _roles(history)) for question, history in zip(questions, histories, strict=True)]
        )
        return [
            Found(tuple(passage_of(hit, rank) for rank, hit in enumerate(hits, start=1)), _searched(question, query))
            for question, hits, query in zip(questions, outcome.hits, outcome.queries, strict=True)
        ]

    def run(self, questions: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> Retrieval:
        """What each stage of the chain does for the questions, each with its earlier turns as (role, text).

        Raises:
            InputError: Weights are missing.
            RunError: The index is damaged, or memory ran out.
        """
        from ragdecode.retrieval.query import Query

        self.open()
        queries = [Query(question, tuple(history)) for question, history in questions]
        # Always in this order: a monitor that retrieves again comes here from within a step.
        step = self._models.engine.lock if self._chain.needs_model else nullcontext()
        with step, self._lock:
            return self._chain.run(queries)

    def resources(self, names: Collection[str]) -> dict[str, Any]:
        """What rules and drafters read besides the request, by name; the index is opened for it if need be.

        ``datastore`` is the index's store of tokens, ``memory`` its memory, ``passages`` reads the request's own.

        Raises:
            InputError: The index has no such store, or one of another model or tokenizer.
            RunError: It is damaged.
        """
        known = {"datastore": "_datastore", "memory": "_memory", "passages": "_passages"}
        if unknown := set(names) - known.keys():
            raise InputError(f"a part asks for {', '.join(sorted(unknown))}; a pipeline has {', '.join(known)}")
        for name in names:
            if known[name] not in self.__dict__:
                with self._lock, self._models.loading():
                    getattr(self, known[name])
        return {name: self.__dict__[known[name]] for name in names}

    def judges(self, models: Mapping[str, ModelSpec | None]) -> dict[str, Any]:
        """The models that monitors ask about texts, by the names under which they ask; see `Monitor.models`.

        Raises:
            InputError: Weights are missing, or a model is of no use here.
        """
        found = {name: self._judge(model) for name, model in models.items()}
        return {name: judge for name, judge in found.items() if judge is not None}

    def _judge(self, model: ModelSpec | None) -> Any:
        if model is not None and model.kind == "cross_encoder":
            return self._entailment(model)
        if model is None and (model := self._any_encoder()) is None:
            return None
        return unit_vectors(self._encoder(model))

    def _any_encoder(self) -> ModelSpec | None:
        """That of the index, else the catalogue's default one if it is on this machine."""
        from ragdecode.models.catalogue import default_encoder
        from ragdecode.models.store import ModelStore

        index = self._loaded.spec.index
        stores = [getattr(store.settings, "encoder", None) for store in index.stores] if index else []
        for model in stores:
            if model is not None:
                return cast("ModelSpec", model)
        default = default_encoder()
        if not self._fetch and ModelStore().locate(default) is None:
            _log.warning("no sentence encoder on this machine: sentences are compared by words alone")
            return None
        return default

    @cached_property
    def _datastore(self) -> TokenDatastore:
        if self._loaded.spec.index is None:
            raise InputError("there is nothing to draft from: the pipeline has no index", hint="add 'index:'")
        return self._index.datastore(self._models.tokenizer.fingerprint)

    @cached_property
    def _memory(self) -> MemoryDatastore:
        if self._loaded.spec.index is None:
            raise InputError("there is no memory to ask: the pipeline has no index", hint="add 'index:'")
        model = self._models.main
        dtype = str(model.dtype).removeprefix("torch.")
        return self._index.memory(model.fingerprint, model.tokenizer.fingerprint, dtype).on(str(model.device))

    @cached_property
    def _passages(self) -> PassageEncoder:
        from ragdecode.pipeline.key_model import BackendKeys
        from ragdecode.pipeline.passage_keys import PassageEncoder

        models = self._models
        keys = BackendKeys(models.main, lambda: models.backends[MAIN], lambda: models.engine.lock)
        return PassageEncoder(keys, lambda: models.tokenizer)

    def close(self) -> None:
        """Let go of index and encoders."""
        with self._lock:
            for name in ("_chain", "_index", "_datastore", "_memory", "_passages"):
                self.__dict__.pop(name, None)
            self.__dict__.pop("_index_models", None)
            self.__dict__.pop("_key_model", None)
            self._cross_encoder.cache_clear()
            self._entailment.cache_clear()

    @cached_property
    def _chain(self) -> RetrievalChain:
        from ragdecode.retrieval.chain import RetrievalChain
        from ragdecode.retrieval.stage import RetrievalContext

        context = RetrievalContext(
            self._index if self._loaded.spec.index else None,
            QueryLikelihood(self._models),
            self._cross_encoder,
            count_tokens=self._count_tokens,
            encoders=self._encoder,
            generate=Writer(self._models, self._loaded.spec.engine),
            entailment=self._entailment,
        )
        return RetrievalChain(self._loaded.spec.retrieve, context)

    def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        encoded = self._models.tokenizer.fast.encode_batch(list(texts), add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    def _encoder(self, model: ModelSpec) -> Encoder:
        with self._models.loading():
            return self._index_models.encoder(model)

    @cached_property
    def _index(self) -> Index:
        if self._build:
            self._bring_up_to_date(self._progress)
        return self._open_index()

    def _open_index(self) -> Index:
        """The index as it lies on disk; one that is taken as it is may have another tokenizer."""
        from ragdecode.indexing.index import open_index
        from ragdecode.indexing.location import index_path

        spec, models = self._loaded.spec.index, self._index_models
        assert spec is not None, "a pipeline that retrieves or drafts from an index has one"
        tokenizer = models.tokenizer_fingerprint if self._build else None
        return open_index(index_path(self._loaded), spec, encoders=models.encoder, tokenizer_fingerprint=tokenizer)

    def refresh(self, progress: Progress | None = None) -> BuildReport:
        """Bring the index up to date beside the open one, which answers meanwhile, and take the new one in its place.

        Raises:
            EmptyCorpusError: Nothing is left to search.
            InputError: The corpus cannot be read, or weights are missing.
            RunError: The index cannot be written.
        """
        if self._loaded.spec.index is None:
            raise InputError(f"the pipeline {self._loaded.name} has no index")
        if (before := self.__dict__.get("_index")) is not None:
            for store in before.stores:  # its folder goes with the build; what is open answers on
                before.searcher(store)
        report = self._bring_up_to_date(progress or self._progress)
        with self._lock:
            for name in ("_chain", "_index", "_datastore", "_memory"):
                self.__dict__.pop(name, None)
            self.__dict__["_index"] = self._open_index()
        return report

    def _bring_up_to_date(self, progress: Progress) -> BuildReport:
        from ragdecode.indexing.build import build_index
        from ragdecode.indexing.location import index_path

        spec, path, models = self._loaded.spec.index, index_path(self._loaded), self._index_models
        assert spec is not None, "a pipeline that retrieves or drafts from an index has one"
        report = build_index(
            spec,
            path,
            token_offsets=models.token_offsets,
            tokenizer_fingerprint=models.tokenizer_fingerprint,
            tokenizer=lambda: models.tokenizer,
            key_model=lambda: self._key_model,
            encoders=models.encoder,
            progress=progress,
            announce=_announce,
        )
        if report.reason:
            _log.warning("index %s was built anew: %s", path, report.reason)
        _log.log(logging.INFO if report.built else logging.DEBUG, "index %s: %s", path, report)
        return report

    @cached_property
    def _key_model(self) -> KeyModel:
        """The pipeline's own model, unless the index counts the tokens of another."""
        from ragdecode.pipeline.key_model import BackendKeys, index_key_model

        spec, models = self._loaded.spec, self._models
        if spec.index is not None and spec.index.tokenizer not in (None, spec.model):
            return index_key_model(self._index_models, spec.engine)
        return BackendKeys(models.main, lambda: models.backends[MAIN], lambda: models.engine.lock)

    @cached_property
    def _index_models(self) -> IndexModels:
        from ragdecode.indexing.models import IndexModels

        spec = self._loaded.spec
        return IndexModels(spec.index, spec.model, device=spec.engine.device, fetch=self._fetch)

    def _load_cross_encoder(self, model: ModelSpec) -> PairScorer:
        from ragdecode.models.cross_encoder import load_cross_encoder

        with self._models.loading():
            scorer = load_cross_encoder(
                model, device=self._loaded.spec.engine.device, fetch=self._fetch, progress=self._progress
            )
        return lambda pairs: [float(score) for score in scorer.score(pairs)]

    def _load_entailment(self, model: ModelSpec) -> Entailment:
        from ragdecode.models.entailment import load_entailment

        with self._models.loading():
            judge = load_entailment(
                model, device=self._loaded.spec.engine.device, fetch=self._fetch, progress=self._progress
            )
        return lambda pairs: [float(value) for value in judge.probability(pairs)]


def unit_vectors(encoder: Encoder) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Texts to vectors of length 1; a vector of zeros stays one."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        vectors = encoder.encode(texts)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return scaled

    return encode


def passage_of(hit: Hit, rank: int) -> Passage:
    """A hit as the model is to see it."""
    found = hit.passage
    return Passage(found.id, found.source, found.text, hit.score, rank, found.metadata())


def _searched(question: str, query: Query) -> tuple[str, ...]:
    """What query stages have made of a question, for people."""
    other = [f"the question was searched as {query.text!r}"] if query.text != question else []
    more = [f"searched beside it: {', '.join(map(repr, query.variants))}"] if query.variants else []
    return (*other, *more)


def _announce(inventory: Inventory, expected: Estimate | None) -> None:
    if expected is not None and expected.long:
        for line in expected.lines():
            _log.info("index: %s", line)


def _roles(history: Sequence[Turn]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in history]


def _over(loaded: LoadedPipeline, docs: Path) -> LoadedPipeline:
    """The pipeline over other documents; its index goes where those of the catalogue are, under a name of its own."""
    index: IndexSpec | None = loaded.spec.index
    if index is None or not loaded.spec.retrieve:
        raise InputError(
            f"the pipeline {loaded.name} searches nothing, so it has no use for documents",
            hint="take a pipeline with index and retrieve, such as docs-qa",
        )
    if not docs.exists():
        raise InputError(f"there are no documents at {docs}: no such file or folder")
    corpus = index.corpus.model_copy(update={"path": str(docs.resolve())})
    spec = loaded.spec.model_copy(update={"index": index.model_copy(update={"corpus": corpus})})
    return replace(loaded, spec=spec, from_catalogue=True)
