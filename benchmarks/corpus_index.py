"""An index over a corpus in BEIR layout, one passage a document, built and searched as any pipeline's is.

Shared by the retrieval scripts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdecode.indexing.build import build_index
from ragdecode.indexing.hit import Hit
from ragdecode.indexing.index import Index, open_index
from ragdecode.indexing.models import IndexModels
from ragdecode.models.encoder import Encoder
from ragdecode.pipeline.likelihood import QueryLikelihood
from ragdecode.pipeline.models import PipelineModels
from ragdecode.pipeline.views import plan_views
from ragdecode.retrieval.chain import RetrievalChain
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.spec.load import LoadedPipeline, load_pipeline
from ragdecode.spec.part import PartKind

PIPELINE = Path(__file__).parent / "pipelines" / "ranking.yaml"
_STEP = 512


@dataclass(frozen=True)
class CorpusIndex:
    """An open index and the models that its chains use.

    Attributes:
        index: The index.
        loaded: The pipeline that it belongs to.
        models: Its tokenizer and encoders.
    """

    index: Index
    loaded: LoadedPipeline
    models: IndexModels

    def search(self, stages: Sequence[Any], queries: Sequence[str]) -> list[list[Hit]]:
        """Hits for each query, best first, by a chain as it is written under ``retrieve``."""
        parts = [PartKind("retriever").validate(stage) for stage in stages]
        return RetrievalChain(parts, self._context).retrieve(queries)

    def encoder(self) -> Encoder:
        """The sentence encoder of its vectors."""
        settings: Any = PartKind("store").validate({"faiss": self.index.manifest.stores["faiss"].settings}).settings
        return self.models.encoder(settings.encoder)

    @cached_property
    def _context(self) -> RetrievalContext:
        spec = self.loaded.spec
        likelihood = QueryLikelihood(PipelineModels(plan_views(spec), spec.engine))
        return RetrievalContext(self.index, likelihood, encoders=self.models.encoder)


def open_corpus(folder: Path, target: Path, sets: Sequence[str] = ()) -> CorpusIndex:
    """Bring the index of a corpus up to date and open it.

    Args:
        folder: Holds ``corpus.jsonl``.
        target: Folder of the index.
        sets: ``path=value`` texts over the pipeline ``ranking``.
    """
    loaded = load_pipeline(PIPELINE, [f"index.corpus.path={folder.resolve()}", *sets])
    spec = loaded.spec.index
    assert spec is not None, "the pipeline has an index"
    models = IndexModels(spec, loaded.spec.model)
    report = build_index(
        spec,
        target,
        token_offsets=models.token_offsets,
        tokenizer_fingerprint=models.tokenizer_fingerprint,
        tokenizer=lambda: models.tokenizer,
        encoders=models.encoder,
        progress=_progress,
    )
    for stage in report.stages:
        print(f"{folder.name}: {stage}", file=sys.stderr)
    return CorpusIndex(open_index(target, spec, encoders=models.encoder), loaded, models)


def _progress(stage: str, done: int, total: int) -> None:
    if done == total or done % _STEP == 0:
        print(f"{stage} {done}/{total}", file=sys.stderr)
