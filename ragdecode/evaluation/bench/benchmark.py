"""Runs the contenders in turns: every prompt by each of them before the next prompt, so that all share the weather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.agreement import Agreement
from ragdecode.evaluation.bench.contender import Contender, Turn
from ragdecode.evaluation.bench.contenders import GREEDY, UNDRAFTED, check_contenders, make
from ragdecode.evaluation.bench.machine import load_average, machine
from ragdecode.evaluation.bench.memory import PeakMemory
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.reference import composed_gap, is_plain, stock_gap
from ragdecode.evaluation.bench.report import summarise
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.evaluation.verification import check_batch
from ragdecode.models.progress import Progress
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

#: Tokens of the excluded first run of each contender.
WARM_UP_TOKENS = 8


class Benchmark:
    """Measures a pipeline against others on the same requests.

    Args:
        pipeline: The pipeline.
        names: Contenders, as `contender_names` gives them.
        requests: At least one.
        repeats: How often everything is run.
        batches: How many requests are decoded together; everything is run for each of these sizes.
        progress: Told of each turn.

    Raises:
        InputError: A contender cannot do what the pipeline does, or cannot run here; a batch is larger than the
            engine takes, or than there are requests.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        names: Sequence[str],
        requests: Sequence[DecodeRequest],
        *,
        repeats: int,
        progress: Progress,
        batches: Sequence[int] = (1,),
    ) -> None:
        check_contenders(pipeline, names)
        for size in batches:
            check_batch(pipeline, size)
            if size > len(requests):
                raise InputError(f"a batch of {size} needs as many prompts; there are {len(requests)}")
        self._pipeline = pipeline
        self._requests = requests
        self._repeats = repeats
        self._batches = tuple(dict.fromkeys(batches))
        self._progress = progress
        self._contenders = {name: make(name, pipeline) for name in names}

    def run(self) -> dict[str, Any]:
        """Run everything and return the object that ``bench --json`` prints."""
        for name, contender in self._contenders.items():
            self._progress(f"warm up {name}", 0, 0)
            for request in self._requests:
                contender.prepare(request)
        before = load_average()
        found = {size: self._measure(size) for size in self._batches}
        about = machine(self._pipeline) | {"load_average_before": before}
        decode = self._pipeline.loaded.spec.decode
        used = {
            "prompts": len(self._requests),
            "repeats": self._repeats,
            "pipeline": self._pipeline.name,
            "headline": self._pipeline.headline,
            "max_new_tokens": decode.max_new_tokens,
            "temperature": decode.sampling.temperature,
            "batch": self._batches[0],
            "notes": self._notes(),
        }
        batches = {str(size): result for size, result in found.items()}
        return found[self._batches[0]] | {"batches": batches, "machine": about, "run": used}

    def _measure(self, size: int) -> dict[str, Any]:
        """All contenders that can, with so many requests at once."""
        taking = {name: item for name, item in self._contenders.items() if size == 1 or not item.alone}
        groups = [self._requests[first : first + size] for first in range(0, len(self._requests), size)]
        for contender in taking.values():
            contender.turn(groups[0], WARM_UP_TOKENS)
        repeats = [self._repeat(number, taking, groups) for number in range(self._repeats)]
        self._progress("compare tokens", 0, 0)
        agreements = {name: self._agreement(name, repeats[0]) for name in taking}
        return summarise(repeats, agreements, {name: contender.note for name, contender in taking.items()})

    def _repeat(
        self, number: int, taking: dict[str, Contender], groups: Sequence[Sequence[DecodeRequest]]
    ) -> dict[str, list[Turn]]:
        memory = PeakMemory(self._pipeline.model.device)
        turns: dict[str, list[Turn]] = {name: [] for name in taking}
        names, count = list(taking), len(groups)
        stage = "run" if len(groups[0]) == 1 else f"run {len(groups[0])} together"
        for place, group in enumerate(groups):
            first = (place + number) % len(names)  # nobody always runs after the same one
            self._progress(stage, number * count + place, self._repeats * count)
            for name in names[first:] + names[:first]:
                memory.reset()
                turn = taking[name].turn(group)
                turns[name].append(replace(turn, peak_memory_mb=memory.megabytes()))
        return turns

    def _agreement(self, name: str, turns: dict[str, list[Turn]]) -> Agreement | None:
        """Against greedy decoding for the plain rule, against the undrafted run for composed rules and sampling."""
        reference = self._reference(name)
        if reference not in turns:
            return None
        judge = self._contenders[reference]
        mine, theirs = ([run.tokens for turn in turns[who] for run in turn.runs] for who in (name, reference))
        agreement = Agreement()
        for request, one, other in zip(self._requests, mine, theirs, strict=True):
            gap = (
                stock_gap(judge, self._pipeline, request)
                if isinstance(judge, StockContender)
                else composed_gap(judge, request)  # type: ignore[arg-type]
            )
            agreement.add(one, other, gap)
        return agreement

    def _reference(self, name: str) -> str | None:
        decode = self._pipeline.loaded.spec.decode
        own = isinstance(self._contenders[name], OwnContender)
        if decode.sampling.temperature > 0:
            return UNDRAFTED if own and decode.verification == "noise" else None
        return UNDRAFTED if own and not is_plain(self._pipeline, self._requests[0]) else GREEDY

    def _notes(self) -> list[str]:
        """What should be known before two figures are compared."""
        notes = []
        alone = [name for name, contender in self._contenders.items() if contender.alone]
        if alone and self._batches != (1,):
            notes.append(f"one prompt at a time only, so in no larger batch: {', '.join(alone)}")
        decode = self._pipeline.loaded.spec.decode
        if decode.sampling.temperature > 0:
            notes.append(
                "sampled: the contenders that are not ragdecode draw from generators of their own, so tokens are not "
                "compared"
            )
            if decode.verification == "rejection":
                notes.append("verification by rejection keeps the distribution, not the tokens: they are not compared")
        return notes
