"""Runs the rows of an example side by side in one engine, and appends what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence_rows import read
from rules_rows import Row, reason_to_skip
from rules_sets import LEAST, Item, Task, graded, graded_scores

from ragdecode import Pipeline
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.request import TARGET, Request, Result, View
from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.sharing import SharedPipelines

PIPELINE = Path(__file__).parent / "pipelines" / "rules.yaml"
#: shorter prompts are not worth a pass of their own
SHORTEST = 48


class Bench:
    """The model, and a pipeline for each row of each set over it.

    Args:
        first: The pipeline that has the model.
        rows: What is compared.
        names: What ``{heads}`` and ``{detector}`` stand for.
        sets: ``path=value`` texts that the first pipeline was loaded with.
    """

    def __init__(
        self, first: Pipeline, rows: Mapping[str, Row], names: Mapping[str, str], sets: Sequence[str] = ()
    ) -> None:
        self.first = first
        self.shared = SharedPipelines(first)
        self.rows = rows
        self._names = names
        self._sets = list(sets)
        self._loaded: dict[tuple[str, str], Pipeline] = {}

    def pipeline(self, task: Task, name: str) -> Pipeline:
        """The pipeline of a row in a set.

        Raises:
            InputError: The row cannot be loaded.
        """
        key = task.name, name
        if key not in self._loaded:
            sets = self.rows[name].overrides({**self._names, "noisy": task.noisy})
            sets += [f"prompt={task.prompt}", f"decode.stop={json.dumps(task.stop)}"]
            sets += [f"decode.max_new_tokens={task.tokens or 64}"]
            self._loaded[key] = self.shared.load(PIPELINE, [*self._sets, *sets])
        return self._loaded[key]

    def usable(self, task: Task, items: Sequence[Item]) -> tuple[list[str], dict[str, str]]:
        """The rows that a set has, and the reasons for those that it has not."""
        most = max((len(item.passages) for item in items), default=0)
        found, out = [], {}
        for name, row in self.rows.items():
            why = reason_to_skip(row, most, task.prompt, bool(task.tokens))
            if why is None and items:
                try:
                    self.request(task, items[0], name)
                except InputError as error:
                    why = error.message
            if why is None:
                found.append(name)
            else:
                out[name] = why
        return found, out

    def request(self, task: Task, item: Item, name: str) -> Request:
        """What the engine is asked for a row of an example."""
        pipeline, name = self.pipeline(task, name), f"{item.id}/{name}"
        if item.prompts:
            return self._with_evidence(pipeline.prepare(DecodeRequest(name, prompts=item.prompts)).request, item)
        passages = tuple(Passage(f"p{at}", "", text, rank=at) for at, text in enumerate(item.passages, start=1))
        return pipeline.prepare(DecodeRequest(name, question=item.question, passages=passages)).request

    def _with_evidence(self, request: Request, item: Item) -> Request:
        """Exact prompts do not say where their evidence is."""
        known = [Evidence(0, len(self._ids(item.prompts[TARGET][: item.instruction].rstrip())))]
        views = {
            name: replace(view, evidence=known) if name == TARGET else view for name, view in request.views.items()
        }
        return replace(request, views=views)

    def answer(self, requests: Sequence[Request]) -> dict[str, Result]:
        """Results by id. Prompts that several requests begin with are read once, before the requests."""
        reading = list(_shared_prompts(requests))
        for some in (reading, requests):
            results = {event.result.id: event.result for event in self.first.run(*some) if isinstance(event, DoneEvent)}
        return results

    def score(self, item: Item, requests: Sequence[Request]) -> list[list[float]]:
        """For each request, the log-probability of each answer of the example, right ones first."""
        answers = [self._ids(text) for text in (*item.right, *item.wrong)]
        found = self.shared.composed_log_probs([(request, answers) for request in requests])
        return [[sum(max(value, LEAST) for value in one) for one in own] for own in found]

    def _ids(self, text: str) -> list[int]:
        return self.first.tokenizer.encode(text, special=False)


def _shared_prompts(requests: Sequence[Request]) -> Iterator[Request]:
    """Requests that do nothing but read a prompt that several others have."""
    count = Counter(tuple(view.prompt) for request in requests for view in request.views.values())
    for at, (prompt, times) in enumerate(count.items()):
        if times > 1 and len(prompt) >= SHORTEST:
            yield Request(f"read {at}", {TARGET: View(prompt)}, max_new_tokens=1)


def run_task(bench: Bench, task: Task, items: Sequence[Item], names: Sequence[str], file: Path, group: int) -> None:
    """Append every row that the file lacks, some examples at a time."""
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["item"], row["row"]) for row in rows}
    todo = [item for item in items if any((item.id, name) not in known for name in names)]
    started = time.perf_counter()
    with file.open("a", encoding="utf-8") as stream:
        for at in range(0, len(todo), group):
            some = todo[at : at + group]
            cells = [(item, name) for item in some for name in names if (item.id, name) not in known]
            for record in measure(bench, task, cells):
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.flush()
            done = at + len(some)
            left = (time.perf_counter() - started) / done * (len(todo) - done)
            print(f"\r{task.name} {done}/{len(todo)}, {left / 60:.1f} min left   ", end="", file=sys.stderr)
    print(file=sys.stderr)


def measure(bench: Bench, task: Task, cells: Sequence[tuple[Item, str]]) -> Iterator[dict[str, Any]]:
    """Answers or scores of cells, graded."""
    requests = [bench.request(task, item, name) for item, name in cells]
    if task.tokens:
        results = bench.answer(requests)
        for item, name in cells:
            result = results[f"{item.id}/{name}"]
            yield {
                "item": item.id,
                "row": name,
                "text": result.text,
                "tokens": len(result.tokens),
                "finish": result.finish_reason,
                "prompt_tokens": result.stats.prompt_tokens,
                "grades": graded(task, item, result.text),
            }
        return
    for item in dict.fromkeys(item for item, _ in cells):
        own = [(name, request) for (one, name), request in zip(cells, requests, strict=True) if one is item]
        found = bench.score(item, [request for _, request in own])
        for (name, request), scores in zip(own, found, strict=True):
            yield {
                "item": item.id,
                "row": name,
                "scores": scores,
                "prompt_tokens": len(request.views[TARGET].prompt),
                "grades": graded_scores(task, item, scores),
            }


def alone(request: Request, tokens: int) -> Request:
    """The request with so many tokens whatever comes, for timing."""
    return replace(request, end_tokens=frozenset(), stop_strings=(), max_new_tokens=tokens, detokenize=None)
