"""The pipeline itself as a contender, with its drafters or without them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ragdecode.decoding.events import DoneEvent, TokenEvent
from ragdecode.decoding.request import Result
from ragdecode.evaluation.bench.contender import Contender, Run, Turn
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest


class OwnContender(Contender):
    """A pipeline; every turn begins without the prefixes that earlier ones left in the cache."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        self.pipeline.prepare(request)

    def turn(self, requests: Sequence[DecodeRequest], max_new_tokens: int | None = None) -> Turn:
        """See `Contender.turn`; time starts once the prompts are token ids, as it does for the others."""
        prepared = [self.pipeline.prepare(request).request for request in requests]
        if max_new_tokens is not None:
            prepared = [replace(item, max_new_tokens=max_new_tokens) for item in prepared]
        self.pipeline.forget_prefixes()
        first: dict[str, float] = {}
        ended: dict[str, float] = {}
        results: dict[str, Result] = {}
        shown = before = 0
        last_first = 0.0
        started = time.perf_counter()
        for event in self.pipeline.run(*prepared):
            if isinstance(event, TokenEvent):
                shown += 1
                if event.request not in first:
                    last_first = first[event.request] = time.perf_counter() - started
                    before = shown
            elif isinstance(event, DoneEvent):
                ended[event.request] = time.perf_counter() - started
                results[event.request] = event.result
        seconds = time.perf_counter() - started
        runs = [_run(results[item.id], first.get(item.id, ended[item.id]), ended[item.id]) for item in prepared]
        decoded = sum(len(run.tokens) for run in runs) - before
        return Turn(runs, seconds, decoded, seconds - last_first if first else 0.0)


def _run(result: Result, first: float, ended: float) -> Run:
    stats = result.stats
    return Run(
        tuple(result.tokens),
        stats.committed,
        stats.steps,
        first,
        ended,
        stats.drafted,
        {name: dict(counts) for name, counts in stats.sources.items()},
    )
