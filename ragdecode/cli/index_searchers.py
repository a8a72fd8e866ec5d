"""What ``ragdecode index search`` searches: the stores of an index, or the retrieve stages of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.cli.index_target import load_target, locate, spec_of
from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.indexing.hit import Hit
    from ragdecode.retrieval.chain import StageTrace

#: constant of reciprocal rank fusion, and passages taken from each store for it
_RRF, _DEPTH = 60, 100


@dataclass(frozen=True)
class Found:
    """What a search found for each query.

    Attributes:
        hits: Best first.
        seconds: Time for all queries.
        stages: What each stage of the pipeline's chain did; empty for a search of stores.
    """

    hits: list[list[Hit]]
    seconds: float
    stages: tuple[StageTrace, ...] = ()


class StoreSearch:
    """The stores of an index, fused if there are several."""

    def __init__(self, target: str, overrides: Sequence[str], stores: Sequence[str], top_k: int, fetch: bool) -> None:
        from ragdecode.indexing.index import open_index
        from ragdecode.indexing.models import IndexModels
        from ragdecode.retrieval.stage import RetrievalContext

        self.path, document = locate(target, overrides)
        spec = spec_of(document) if document else None
        device = document.spec.engine.device if document and document.kind == "pipelines" else "auto"
        models = IndexModels(spec, None, device=device, fetch=fetch)
        index = open_index(self.path, spec, encoders=models.encoder)
        self.stores = tuple(dict.fromkeys(stores)) or index.stores
        if not self.stores:
            found = ", ".join(index.manifest.stores)
            raise InputError(
                f"the index {str(self.path)!r} cannot be searched: its stores ({found}) find no passages",
                hint="add one that does to index.stores: bm25, faiss",
            )
        for store in self.stores:
            index.searcher(store)  # an unknown name is told before anything is searched
        self._context = RetrievalContext(index, encoders=models.encoder)
        self._top_k = top_k

    def find(self, queries: Sequence[str]) -> Found:
        """The best passages for each query."""
        from ragdecode.retrieval.query import Query
        from ragdecode.spec.part import PartKind

        asked = [Query(query) for query in queries]
        started = time.perf_counter()
        if len(self.stores) == 1:
            hits = self._context.search(self.stores[0], asked, self._top_k)
        else:
            settings = {
                "of": list(self.stores),
                "top_k": self._top_k,
                "depth": max(_DEPTH, self._top_k),
                "fuse": {"rrf": {"k": _RRF}},
            }
            stage = PartKind("retriever").validate({"hybrid": settings}).build()
            hits = stage.find(asked, self._context)
        return Found(hits, time.perf_counter() - started)

    def facts(self, query: str, found: Found) -> dict[str, Any]:
        """What was searched, for programs."""
        fusion = {"fused_by": f"rrf, k = {_RRF}"} if len(self.stores) > 1 else {}
        return {
            "query": query,
            "index": str(self.path),
            "stores": list(self.stores),
            **fusion,
            "seconds": round(found.seconds, 6),
        }

    def title(self, found: Found) -> str:
        """The same for people."""
        fused = f", fused by reciprocal rank (k = {_RRF})" if len(self.stores) > 1 else ""
        return f"{self.path}: {', '.join(self.stores)}{fused} ({found.seconds:.3f} s)"


class ChainSearch:
    """The retrieve stages of a pipeline that need no language model."""

    def __init__(self, target: str, overrides: Sequence[str], top_k: int, fetch: bool) -> None:
        from ragdecode.indexing.location import index_path
        from ragdecode.pipeline.models import PipelineModels
        from ragdecode.pipeline.passage_source import PassageSource
        from ragdecode.pipeline.views import plan_views
        from ragdecode.spec.load import LoadedPipeline

        if Path(target).is_dir():
            raise InputError("--chain needs a pipeline, not the folder of an index")
        document = load_target(target, overrides)
        if not isinstance(document, LoadedPipeline):
            raise InputError(f"--chain needs a pipeline; {document.name} is an index")
        spec = document.spec
        if not spec.retrieve:
            raise InputError(f"the pipeline {document.name} has no retrieve stages", hint="leave --chain out")
        asking = [part.name for part in spec.retrieve if part.build().needs_model]
        if asking:
            raise InputError(
                f"these stages of {document.name} need the language model: {', '.join(asking)}",
                hint=f"leave --chain out, or see what is retrieved with 'ragdecode ask {target} QUESTION --trace FILE'",
            )
        if spec.index is not None:
            locate(target, overrides)
        self.path = index_path(document) if spec.index is not None else None
        self._source = PassageSource(
            document, PipelineModels(plan_views(spec), spec.engine, fetch=fetch), fetch=fetch, build=False
        )
        self._top_k = top_k

    def find(self, queries: Sequence[str]) -> Found:
        """What the last stage leaves for each query, up to ``top_k``."""
        self._source.open()
        outcome = self._source.run([(query, ()) for query in queries])
        return Found([hits[: self._top_k] for hits in outcome.hits], outcome.seconds, outcome.stages)

    def facts(self, query: str, found: Found) -> dict[str, Any]:
        """What was run, for programs."""
        return {
            "query": query,
            "index": str(self.path) if self.path else None,
            "stages": [{"name": stage.name, "seconds": round(stage.seconds, 6)} for stage in found.stages],
            "seconds": round(found.seconds, 6),
        }

    def title(self, found: Found) -> str:
        """The same for people."""
        return " > ".join(f"{stage.name} ({stage.seconds:.3f} s)" for stage in found.stages)
