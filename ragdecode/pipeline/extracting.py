"""Answers that are spans of their passages: in the place of the engine where a pipeline extracts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from ragdecode.decoding.events import DoneEvent, Event
from ragdecode.decoding.request import Request
from ragdecode.pipeline.memory import memory_errors
from ragdecode.spec.pipeline import EngineSpec

if TYPE_CHECKING:
    from ragdecode.decoding.extraction.extracting import Extraction
    from ragdecode.pipeline.models import PipelineModels


class Extractor:
    """Extracts for requests over a pipeline's models; other threads' steps wait meanwhile.

    Args:
        models: The pipeline's models.
        spec: How they run.
        asked: What is looked for.
    """

    def __init__(self, models: PipelineModels, spec: EngineSpec, asked: Extraction) -> None:
        self._models = models
        self._spec = spec
        self._asked = asked

    def run(self, requests: Iterable[Request], stop: Callable[[], bool] | None = None) -> Generator[Event, None, None]:
        """The result of each request, in order, as `SharedEngine.run` tells it; ``max_batch`` are searched together.

        Raises:
            InputError: A request cannot be run.
            RunError: Memory ran out.
        """
        from ragdecode.decoding.composed_scoring import ComposedScorer
        from ragdecode.decoding.extraction.extracting import extract

        shared, coming = self._models.engine, iter(requests)
        scorer = ComposedScorer(
            self._models.backends,
            max_batch=self._spec.max_batch,
            prefill_tokens=self._spec.prefill_tokens,
            vocab_size=self._models.vocab_size,
            prefix_bytes=self._spec.prefix_cache_mb << 20,
        )
        while batch := list(islice(coming, self._spec.max_batch)):
            if stop is not None and stop():
                return
            with shared.lock, memory_errors("extracting"):
                results = extract(scorer, [replace(request, search=None) for request in batch], self._asked)
            yield from (DoneEvent(result.id, result) for result in results)
