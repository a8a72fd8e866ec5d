"""The pipeline itself as a contender, with its drafters or without them."""

from __future__ import annotations

import time
from dataclasses import replace

from ragdecode.decoding.events import DoneEvent, TokenEvent
from ragdecode.decoding.request import Result
from ragdecode.evaluation.bench.contender import Contender, Run
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest


class OwnContender(Contender):
    """A pipeline, decoding one request at a time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        self._pipeline.prepare(request)

    def run(self, request: DecodeRequest, max_new_tokens: int | None = None) -> Run:
        """See `Contender.run`; time starts once the prompt is token ids, as it does for the others."""
        prepared = self._pipeline.prepare(request).request
        if max_new_tokens is not None:
            prepared = replace(prepared, max_new_tokens=max_new_tokens)
        first = None
        started = time.perf_counter()
        for event in self._pipeline.run(prepared):
            if first is None and isinstance(event, TokenEvent):
                first = time.perf_counter() - started
            if isinstance(event, DoneEvent):
                result = event.result
        seconds = time.perf_counter() - started
        return Run(
            tuple(result.tokens),
            result.stats.committed,
            result.stats.steps,
            seconds if first is None else first,
            seconds,
        )

    def result(self, request: DecodeRequest, alternatives: int) -> Result:
        """The whole result of a request, with that many alternatives at each position."""
        prepared = self._pipeline.prepare(request, alternatives=alternatives).request
        for event in self._pipeline.run(prepared):
            if isinstance(event, DoneEvent):
                return event.result
        raise AssertionError("a request ends with its result")
