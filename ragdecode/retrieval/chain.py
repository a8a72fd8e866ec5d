"""Runs the stages of ``retrieve`` one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ragdecode.errors import InputError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import FindStage, PassageStage, QueryStage, RetrievalContext, RetrievalStage
from ragdecode.spec.part import Part

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageTrace:
    """What one stage did.

    Attributes:
        name: Its name in YAML.
        seconds: How long it took, over all queries.
        hits: What it gave for each query, best first; empty for a stage that reworks the question.
        queries: What is searched in the place of each query; empty for the other stages.
    """

    name: str
    seconds: float
    hits: list[list[Hit]]
    queries: tuple[Query, ...] = ()


@dataclass(frozen=True)
class Retrieval:
    """Outcome of a run of the chain.

    Attributes:
        hits: The last stage's hits for each query, best first.
        stages: What each stage did, in order.
        queries: What was searched in the end.
    """

    hits: list[list[Hit]]
    stages: tuple[StageTrace, ...]
    queries: tuple[Query, ...] = ()

    @property
    def seconds(self) -> float:
        """Time of all stages together."""
        return sum(stage.seconds for stage in self.stages)


def check_stages(parts: Sequence[Part], stores: Sequence[str]) -> list[tuple[int, str]]:
    """What is wrong with a chain over an index with these stores; builds no model and opens no index.

    Returns:
        (place in the chain, problem) pairs, in order; empty if the chain can run.
    """
    problems: list[tuple[int, str]] = []
    seen: list[Part] = []
    readied: list[tuple[int, str, tuple[str, ...]]] = []
    for at, part in enumerate(parts):
        try:
            stage: RetrievalStage = part.build()
        except InputError as error:
            problems.append((at, error.message))
            continue
        if stage.role == "find":
            if seen:
                problems.append((at, f"{part.name} finds passages, as {seen[0].name} does: there can be only one"))
            elif stage.stores is not None:
                problems.extend(
                    (place, f"{name} is for the store {', '.join(own)}, which {part.name} does not search")
                    for place, name, own in readied
                    if set(own).isdisjoint(stage.stores)
                )
            seen.append(part)
        elif stage.role == "passages" and not seen:
            problems.append((at, f"{part.name} transforms passages that an earlier stage must have found"))
        elif stage.role == "query" and seen:
            problems.append((at, f"{part.name} reworks the question, so it goes before {seen[0].name}"))
        elif stage.role == "query" and stage.stores:
            readied.append((at, part.name, stage.stores))
        problems.extend(
            (at, f"{part.name} searches the store {store!r}, which the index lacks; it has {', '.join(stores)}")
            for store in stage.stores or ()
            if store not in stores
        )
    if parts and not seen and not problems:
        problems.append((len(parts) - 1, "no stage finds passages"))
    return sorted(problems, key=lambda problem: problem[0])


class RetrievalChain:
    """The stages of ``retrieve``, ready to run.

    Args:
        parts: The stages as written; query stages, one that finds passages, and those that work on them.
        context: The index and the models.

    Raises:
        InputError: The chain is empty or its stages do not go together.
    """

    def __init__(self, parts: Sequence[Part], context: RetrievalContext) -> None:
        if not parts:
            raise InputError("retrieve is empty", hint="name at least one stage that finds passages, such as bm25")
        problems = check_stages(parts, context.stores)
        if problems:
            raise InputError("\n".join(f"retrieve.{at}: {problem}" for at, problem in problems))
        self.parts = tuple(parts)
        self.context = context
        self.stages: tuple[RetrievalStage, ...] = tuple(part.build() for part in parts)

    def __str__(self) -> str:
        return " >> ".join(part.name for part in self.parts)

    @property
    def needs_model(self) -> bool:
        """Whether a stage uses the pipeline's language model."""
        return any(stage.needs_model for stage in self.stages)

    def retrieve(self, queries: Sequence[Query | str]) -> list[list[Hit]]:
        """Hits for each query, best first."""
        return self.run(queries).hits

    def run(self, queries: Sequence[Query | str]) -> Retrieval:
        """Run all stages over all queries at once.

        Raises:
            InputError: A query is blank, or a store's model is not the one the index was built with.
            RunError: The index is damaged, or a model failed.
        """
        asked: Sequence[Query] = [Query(query) if isinstance(query, str) else query for query in queries]
        if any(not query.text.strip() for query in asked):
            raise InputError("the question is empty")
        for query in asked:
            _check_text(query.text)
        hits: list[list[Hit]] = []
        traces = []
        for part, stage in zip(self.parts, self.stages, strict=True):
            started = time.perf_counter()
            if stage.role == "query":
                asked = cast("QueryStage", stage).rework(asked, self.context)
                traces.append(StageTrace(part.name, time.perf_counter() - started, [], tuple(asked)))
                logger.debug("%s: %s", part.name, asked)
                continue
            if stage.role == "find":
                hits = cast("FindStage", stage).find(asked, self.context)
            else:
                hits = cast("PassageStage", stage).refine(asked, hits, self.context)
            traces.append(StageTrace(part.name, time.perf_counter() - started, hits))
            logger.debug("%s: %s hits", part.name, [len(found) for found in hits])
        return Retrieval(hits, tuple(traces), tuple(asked))


def _check_text(question: str) -> None:
    """Halves of surrogate pairs are no characters: tokenizers refuse them with an error of their own."""
    try:
        question.encode()
    except UnicodeEncodeError as error:
        message = f"the question is not valid text: half of a surrogate pair at character {error.start}"
        raise InputError(message) from error
