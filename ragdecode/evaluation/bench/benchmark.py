"""Runs the contenders in turns: every prompt by each of them before the next prompt, so that all share the weather."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.agreement import Agreement
from ragdecode.evaluation.bench.contender import Contender, Run
from ragdecode.evaluation.bench.machine import load_average, machine
from ragdecode.evaluation.bench.memory import PeakMemory
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.reference import composed_gap, is_plain, stock_gap
from ragdecode.evaluation.bench.report import summarise
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.models.progress import Progress
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

OWN, UNDRAFTED, GREEDY, LOOKUP = "ragdecode", "ragdecode-nodraft", "hf-greedy", "hf-prompt-lookup"
#: Draft length that the documentation of transformers gives for prompt lookup.
LOOKUP_TOKENS = 10
#: Tokens of the excluded first run of each contender.
WARM_UP_TOKENS = 8

_MAKERS: dict[str, Callable[[Pipeline], Contender]] = {
    OWN: OwnContender,
    UNDRAFTED: lambda pipeline: OwnContender(pipeline.undrafted()),
    GREEDY: StockContender,
    LOOKUP: lambda pipeline: StockContender(pipeline, LOOKUP_TOKENS),
}
OTHERS = tuple(name for name in _MAKERS if name != OWN)


def contender_names(text: str) -> tuple[str, ...]:
    """Names from a comma-separated list; the pipeline itself always takes part, first.

    Raises:
        InputError: There is no contender of that name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _MAKERS:
            near = get_close_matches(name, _MAKERS, n=1)
            known = f"contenders are {', '.join(_MAKERS)}"
            raise InputError(
                f"unknown contender {name!r}", hint=f"did you mean {near[0]!r}? {known}" if near else known
            )
    return tuple(dict.fromkeys((OWN, *names)))


class Benchmark:
    """Measures a pipeline against others on the same requests.

    Args:
        pipeline: The pipeline.
        names: Contenders, as `contender_names` gives them.
        requests: At least one.
        repeats: How often everything is run.
        progress: Told of each run.

    Raises:
        InputError: The pipeline samples, or stops at strings, which the others cannot do in the same way.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        names: Sequence[str],
        requests: Sequence[DecodeRequest],
        *,
        repeats: int,
        progress: Progress,
    ) -> None:
        _check(pipeline, names)
        self._pipeline = pipeline
        self._requests = requests
        self._repeats = repeats
        self._progress = progress
        self._contenders = {name: _MAKERS[name](pipeline) for name in names}

    def run(self) -> dict[str, Any]:
        """Run everything and return the object that ``bench --json`` prints."""
        for name, contender in self._contenders.items():
            self._progress(f"warm up {name}", 0, 0)
            for request in self._requests:
                contender.prepare(request)
            contender.run(self._requests[0], WARM_UP_TOKENS)
        before = load_average()
        repeats = [self._repeat(number) for number in range(self._repeats)]
        self._progress("compare tokens", 0, 0)
        found = summarise(repeats, {name: self._agreement(name, repeats[0]) for name in self._contenders})
        about = machine(self._pipeline) | {"load_average_before": before}
        used = {"prompts": len(self._requests), "repeats": self._repeats, "pipeline": self._pipeline.name}
        return found | {"machine": about, "run": used | {"headline": self._pipeline.headline}}

    def _repeat(self, number: int) -> dict[str, list[Run]]:
        memory = PeakMemory(self._pipeline.model.device)
        runs: dict[str, list[Run]] = {name: [] for name in self._contenders}
        names, count = list(self._contenders), len(self._requests)
        for place, request in enumerate(self._requests):
            first = (place + number) % len(names)  # nobody always runs after the same one
            self._progress("run", number * count + place, self._repeats * count)
            for name in names[first:] + names[:first]:
                memory.reset()
                run = self._contenders[name].run(request)
                runs[name].append(replace(run, peak_memory_mb=memory.megabytes()))
        return runs

    def _agreement(self, name: str, runs: dict[str, list[Run]]) -> Agreement | None:
        """Against greedy decoding for the plain rule, against the undrafted run for composed rules."""
        own = name in (OWN, UNDRAFTED)
        reference = UNDRAFTED if own and not is_plain(self._pipeline, self._requests[0]) else GREEDY
        if reference not in runs:
            return None
        judge = self._contenders[reference]
        agreement = Agreement()
        for request, mine, theirs in zip(self._requests, runs[name], runs[reference], strict=True):
            gap = (
                stock_gap(judge, self._pipeline, request)
                if isinstance(judge, StockContender)
                else composed_gap(judge, request)  # type: ignore[arg-type]
            )
            agreement.add(mine.tokens, theirs.tokens, gap)
        return agreement


def _check(pipeline: Pipeline, names: Sequence[str]) -> None:
    decode = pipeline.loaded.spec.decode
    if decode.sampling.temperature > 0:
        raise InputError(
            "bench compares the most probable tokens, and the pipeline samples",
            hint="--set decode.sampling.temperature=0",
        )
    if decode.stop and {GREEDY, LOOKUP} & set(names):
        raise InputError(
            "the pipeline stops at strings, which the hf contenders do not look for", hint="--set decode.stop=[]"
        )
