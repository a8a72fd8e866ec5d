"""A pipeline, ready to answer: loads what it needs when it is first needed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ragdecode.decoding import events as engine
from ragdecode.decoding.request import Request
from ragdecode.decoding.search.extract import Extract
from ragdecode.errors import InputError, RunError
from ragdecode.models.huge_pages import prefer_huge_pages
from ragdecode.models.progress import Progress, silent
from ragdecode.pipeline.answer import Answer, Seconds
from ragdecode.pipeline.answering import AnswerStream
from ragdecode.pipeline.decoded import Decoded
from ragdecode.pipeline.events import DoneEvent, Event, PassagesEvent
from ragdecode.pipeline.extracting import Extractor
from ragdecode.pipeline.likelihood import QueryLikelihood
from ragdecode.pipeline.meeting import equip, meet, view_path
from ragdecode.pipeline.models import PipelineModels
from ragdecode.pipeline.parts import DecodeParts
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.passage_source import Found, PassageSource
from ragdecode.pipeline.preparing import Prepared, Preparer
from ragdecode.pipeline.question import AnswerSettings, Question
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.request_lines import wrong_requests
from ragdecode.pipeline.views import plan_views
from ragdecode.spec.headline import headline
from ragdecode.spec.load import LoadedPipeline, load_pipeline

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from ragdecode.indexing.hit import Hit
    from ragdecode.indexing.report import BuildReport
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.tokenizer import Tokenizer
    from ragdecode.pipeline.shared_engine import SharedEngine


class Pipeline:
    """A whole app in memory. Made by `Pipeline.load`; nothing heavy is loaded before it is needed.

    Threads may share a pipeline: their questions are decoded in one batch. A stream that is not read to its end
    must be closed (``with contextlib.closing(...)``, or let it go out of scope); that frees its slots.

    Attributes:
        loaded: Its YAML, resolved.
        name: Its name.
        needs: Views besides ``with_context`` that its rules, drafters and monitors read for every request.
        optional: Views that they read where a request has them.
    """

    def __init__(
        self,
        loaded: LoadedPipeline,
        *,
        docs: Path | None = None,
        progress: Progress | None = None,
        fetch: bool = False,
        models: PipelineModels | None = None,
    ) -> None:
        prefer_huge_pages()
        told = progress or silent
        self.loaded = loaded
        self.name = loaded.name
        self._spec = loaded.spec
        self._parts = DecodeParts.build(self._spec.decode)
        self._plans = plan_views(self._spec)
        self._models = models or PipelineModels(
            self._plans, self._spec.engine, self._spec.decode, fetch=fetch, progress=told, refusal=self._refusal
        )
        self._source = PassageSource(loaded, self._models, docs=docs, fetch=fetch, progress=told)
        self._closed = False
        self.optional = tuple(view for view in self._plans.needs if view in self._parts.optional)
        self.needs = tuple(view for view in self._plans.needs if view not in self._parts.optional)

    @classmethod
    def load(
        cls,
        target: str | Path,
        overrides: Sequence[str] = (),
        *,
        docs: Path | None = None,
        progress: Progress | None = None,
        fetch: bool = False,
    ) -> Pipeline:
        """Read a pipeline; models, index and weights are opened when they are first needed.

        Args:
            target: A YAML file, or the name of a pipeline of the app or the catalogue.
            overrides: ``path=value`` texts, as after ``--set``.
            docs: Folder or file to search in the place of ``index.corpus.path``.
            progress: Told of long work: ``(stage, done, total)``.
            fetch: Fetch weights that are not on this machine.

        Raises:
            InputError: The YAML is wrong (`SpecError`: all of it at once), or ``docs`` is of no use.
        """
        return cls(load_pipeline(target, overrides), docs=docs, progress=progress, fetch=fetch)

    def ask(
        self,
        question: str,
        history: Iterable[Any] = (),
        *,
        passages: Iterable[str | Mapping[str, Any] | Document | Passage] | None = None,
        alternatives: int = 0,
        explain: int = 0,
    ) -> Answer:
        """Answer a question.

        Args:
            question: What is asked.
            history: Earlier messages, ``{"role", "content"}`` mappings or turns, oldest first.
            passages: Evidence, best first, in the place of retrieval.
            alternatives: Best tokens to record at each position; a trace wants some.
            explain: Pieces of evidence that rules are to tell of each token, at most; 0 asks for none.

        Raises:
            InputError: The question is empty or too long, or weights are missing.
            RunError: Memory ran out, the index cannot be written or is damaged.
        """
        answer: Answer | None = None
        for event in self.stream(question, history, passages=passages, alternatives=alternatives, explain=explain):
            if isinstance(event, DoneEvent):
                answer = event.answer
        assert answer is not None, "a stream ends with its record"
        return answer

    def stream(
        self,
        question: str,
        history: Iterable[Any] = (),
        *,
        passages: Iterable[str | Mapping[str, Any] | Document | Passage] | None = None,
        alternatives: int = 0,
        explain: int = 0,
        settings: AnswerSettings | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Generator[Event, None, None]:
        """Answer a question, event by event: passages, then text, sentences and actions, then the record.

        Same arguments and errors as `ask`. Closing the iterator frees the slots; so does ``stop``, which is asked
        between steps, from whichever thread reads: once it is true the events end, without a record. ``settings``
        hold for this answer alone.
        """
        asked = Question.of(question, history, passages, settings)
        with closing(self.stream_batch([asked], alternatives=alternatives, explain=explain, stop=stop)) as events:
            for _, event in events:
                yield event

    def batch(self, questions: Iterable[str | Question]) -> list[Answer]:
        """Answer many questions, retrieved for at once and decoded together; answers in the order of questions.

        Raises:
            InputError: A question is empty or too long, or weights are missing.
            RunError: Memory ran out, the index cannot be written or is damaged.
        """
        asked = [item if isinstance(item, Question) else Question.of(item) for item in questions]
        answers: dict[int, Answer] = {}
        for place, event in self.stream_batch(asked):
            if isinstance(event, DoneEvent):
                answers[place] = event.answer
        return [answers[place] for place in range(len(asked))]

    def stream_batch(
        self,
        questions: Sequence[Question],
        *,
        alternatives: int = 0,
        explain: int = 0,
        stop: Callable[[], bool] | None = None,
    ) -> Generator[tuple[int, Event], None, None]:
        """The events of many questions as they happen, each with its question's place.

        Time for loading and retrieval is shared out evenly.
        """
        self._check_open()
        before = self._models.seconds
        for item in questions:
            self.check(item)
        if any(item.passages is None for item in questions):
            self._source.open()
        loaded, started = self._models.seconds, time.perf_counter()
        evidence = self._evidence(questions)
        retrieving = time.perf_counter() - started - (self._models.seconds - loaded)
        count = max(1, len(questions))
        seconds = Seconds(load=(self._models.seconds - before) / count, retrieve=retrieving / count)
        prepared = [
            self._preparer.question(
                item.text,
                found.passages,
                item.history,
                alternatives=alternatives,
                explain=explain,
                retrieve=None if self._source.empty else self._find,
                notes=found.notes,
            )
            for item, found in zip(questions, evidence, strict=True)
        ]
        for item, ready in zip(questions, prepared, strict=True):
            ready.request = item.settings.applied(ready.request)
        streams = [
            AnswerStream(
                item,
                self._models.tokenizer.token_text,
                self.name,
                self.headline,
                seconds,
                cited=self._spec.answer.citations,
            )
            for item in prepared
        ]
        for place, ready in enumerate(prepared):
            yield place, PassagesEvent(ready.passages)
        with closing(self._run(prepared, stop)) as events:
            for place, event in events:
                for told in streams[place].follow(event):
                    yield place, told

    @property
    def searches(self) -> bool:
        """Whether it finds its passages itself."""
        return not self._source.empty

    def open(self) -> None:
        """Load models and index now, not with the first question.

        Raises:
            InputError: Weights are missing, the corpus cannot be read, or a part does not fit the model.
            RunError: The index cannot be written or is damaged.
        """
        self._check_open()
        _ = self._preparer
        self._source.open()

    def refresh(self, progress: Progress | None = None) -> BuildReport:
        """Bring the index up to date; until that is done the one before answers.

        Raises:
            InputError: The pipeline has no index, nothing is left to search, or the corpus cannot be read.
            RunError: The index cannot be written.
        """
        self._check_open()
        report = self._source.refresh(progress)
        if "_preparer" in self.__dict__:  # it may hold what drafters and rules read of the index before
            self.__dict__["_preparer"] = self._make_preparer()
        return report

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be asked; loads the model.

        Raises:
            InputError: It is too long even without evidence.
        """
        self._check_open()
        self._preparer.check(question.text)

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Decoded, None, None]:
        """Decode requests that bring their own prompts or evidence; results in order, as soon as they are there.

        Every request is prepared before the first is decoded, so that all mistakes are found at once.

        Raises:
            InputError: Requests that do not fit or lack a view; all of them are named.
            RunError: Memory ran out.
        """
        self._check_open()
        asked, preparer = list(requests), self._preparer
        problems = []
        for item in asked:
            try:
                preparer.line(item)
            except InputError as error:
                problems.append(error.message)
        if problems:
            raise wrong_requests(problems)
        flying: dict[int, Prepared] = {}

        def prepare() -> Iterator[Prepared]:
            for place, item in enumerate(asked):
                flying[place] = preparer.line(item)
                yield flying[place]

        done: dict[int, Decoded] = {}
        upcoming = 0
        with closing(self._run(prepare())) as events:
            for place, event in events:
                if isinstance(event, engine.DoneEvent):
                    done[place] = Decoded(event.result, (*flying.pop(place).notes, *event.result.notes))
                while upcoming in done:
                    yield done.pop(upcoming)
                    upcoming += 1

    def prepare(self, request: DecodeRequest, *, alternatives: int = 0) -> Prepared:
        """What the engine would be asked for a request; loads the model.

        Raises:
            InputError: It does not fit, or lacks a view.
        """
        self._check_open()
        return self._preparer.line(request, alternatives=alternatives)

    def run(self, *requests: Request) -> Generator[engine.Event, None, None]:
        """The engine's own events for requests as `prepare` made them, decoded together.

        Raises:
            RunError: Memory ran out.
        """
        self._check_open()
        return self._runner.run(requests)

    def log_probs(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Log-probability (nats) of each token of a text after a prefix, for (prefix, text) pairs, under its own model.

        A prefix that is too long loses its beginning. Both are plain texts: no chat template is put around them.

        Raises:
            InputError: A text alone is longer than the model's window.
            RunError: Memory ran out.
        """
        self._check_open()
        return QueryLikelihood(self._models).of_tokens(pairs)

    def retrieve(self, questions: Sequence[str]) -> list[list[Hit]]:
        """What the pipeline's ``retrieve`` finds for each question, best first; all are searched at once.

        Raises:
            InputError: The pipeline searches nothing, a question is empty, or weights are missing.
            RunError: The index cannot be written or is damaged.
        """
        self._check_open()
        if self._source.empty:
            raise InputError(f"the pipeline {self.name} has no 'retrieve': it searches nothing")
        return self._source.run([(question, ()) for question in questions]).hits

    def forget_prefixes(self) -> None:
        """Let go of what was kept of earlier prompts, so that the next one is read from its first token on."""
        self._models.engine.forget_prefixes()

    def undrafted(self) -> Pipeline:
        """The same pipeline without drafters, over the same models and index; it is closed with this one."""
        twin = copy(self)
        decode = self._spec.decode.model_copy(update={"draft": ()})
        twin._spec = self._spec.model_copy(update={"decode": decode})
        twin.loaded = replace(self.loaded, spec=twin._spec)
        twin._parts = replace(self._parts, drafters=())
        twin.needs = tuple(view for view in self.needs if view in twin._parts.needs)
        twin.__dict__.pop("_preparer", None)
        return twin

    def close(self) -> None:
        """Let go of models and index; what is in flight must be done or closed before."""
        self._closed = True
        self.__dict__.pop("_preparer", None)
        self._models.close()
        self._source.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cites(self) -> bool:
        """Whether its answers are shown with citations."""
        return self._spec.answer.citations

    @property
    def headline(self) -> str:
        """The pipeline in one line."""
        return headline(self._spec)

    @property
    def model(self) -> CausalModel:
        """Its own language model, without the weights that the engine holds.

        Raises:
            InputError: The model is not on this machine.
        """
        return self._models.main

    def model_of(self, view: str) -> CausalModel | None:
        """The language model that a view runs on, such as that of a drafter; None if there is no such view.

        Raises:
            InputError: The model is not on this machine.
        """
        keys = [plan.model for plan in self._plans.views if plan.name == view]
        return self._models.causal[keys[0]] if keys else None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its model.

        Raises:
            InputError: The model is not on this machine.
        """
        return self._models.tokenizer

    @cached_property
    def _preparer(self) -> Preparer:
        return self._make_preparer()

    def _make_preparer(self) -> Preparer:
        models = self._models
        meet(self.loaded, self._plans, self._parts, models.backends)
        # opened before any request is made, so that what is wrong with them is told once
        resources = equip(self.loaded, self._parts, self._source.resources)
        asked = {name: model for part in self._parts.monitors for name, model in part.models.items()}
        resources |= self._source.judges(asked)
        return Preparer(self._spec.decode, self._parts, self._plans, models, models.windows, resources)

    def _refusal(self, view: str, error: InputError) -> InputError:
        return self.loaded.located(view_path(self.loaded, view), error)

    def _evidence(self, questions: Sequence[Question]) -> list[Found]:
        """The passages of each question: its own, else what is found for it."""
        asked = [item for item in questions if item.passages is None]
        found = iter(self._source.find([item.text for item in asked], [item.history for item in asked]))
        return [next(found) if item.passages is None else Found(item.passages) for item in questions]

    def _find(self, query: str) -> Sequence[Passage]:
        return self._source.find([query], [()])[0].passages

    def _run(
        self, prepared: Iterable[Prepared], stop: Callable[[], bool] | None = None
    ) -> Generator[tuple[int, engine.Event], None, None]:
        """The engine's events, each with the place of its request."""
        places: dict[str, deque[int]] = {}

        def requests() -> Iterator[Request]:
            for place, item in enumerate(prepared):
                places.setdefault(item.request.id, deque()).append(place)
                yield item.request

        with closing(self._runner.run(requests(), stop)) as events:
            for event in events:
                # a line's id may come twice: the second one waits until the first is done
                place = places[event.request][0]
                if isinstance(event, engine.DoneEvent):
                    places[event.request].popleft()
                yield place, event

    @property
    def _runner(self) -> SharedEngine | Extractor:
        """What answers requests."""
        search = self._parts.search
        if isinstance(search, Extract):
            return Extractor(self._models, self._spec.engine, search.extraction)
        return self._models.engine

    def _check_open(self) -> None:
        if self._closed:
            raise RunError(f"the pipeline {self.name} is closed", hint="load it again")
