"""A question on its way through the desk: its events, watched for a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from ragdecode.pipeline.events import DoneEvent, Event, TokenEvent
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.question import AnswerSettings
from ragdecode.service.bodies import Tuning
from ragdecode.service.desk import Work
from ragdecode.service.problem import Problem
from ragdecode.service.service import Service


@dataclass(frozen=True)
class Asked:
    """A question and all that is known of it; arguments as those of `Pipeline.stream`."""

    pipeline: Pipeline
    question: str
    history: list[dict[str, str]] = field(default_factory=list)
    passages: list[dict[str, Any]] | None = None
    settings: AnswerSettings = field(default_factory=AnswerSettings)
    alternatives: int = 0
    explain: int = 0

    def work(self, stop: Callable[[], bool]) -> Generator[Event, None, None]:
        """The events, in a thread of the desk."""
        yield from self.pipeline.stream(
            self.question,
            self.history,
            passages=self.passages,
            settings=self.settings,
            alternatives=self.alternatives,
            explain=self.explain,
            stop=stop,
        )


def settings_of(tuning: Tuning) -> AnswerSettings:
    """What a request says of its answer."""
    return AnswerSettings(tuning.max_new_tokens, tuning.temperature, tuning.top_p, tuning.seed, tuple(tuning.stop))


def check_text(service: Service, what: str, *texts: str) -> None:
    """Refuse texts that are too long.

    Raises:
        Problem: 413.
    """
    longest = service.settings.limits.question_characters
    for text in texts:
        if len(text) > longest:
            raise Problem(
                413, "text-too-long", f"{what} has {len(text):,} characters", hint=f"{longest:,} are the most"
            )


def check_history(service: Service, history: list[dict[str, str]]) -> None:
    """Refuse histories that are too long.

    Raises:
        Problem: 413.
    """
    most = service.settings.limits.messages
    if len(history) > most:
        raise Problem(413, "too-many-messages", f"the history has {len(history)} messages", hint=f"{most} are the most")
    check_text(service, "a message of the history", *(message["content"] for message in history))


async def watched(service: Service, request: Request, work: Work) -> AsyncGenerator[Any, None]:
    """The events of work at the desk. Leaving the iterator gives it up; so does a client that leaves.

    Raises:
        Problem: The line is full, the time is up, the service is closing.
        RagDecodeError: What the work raised.
    """
    service.check_ready()
    job = service.desk.submit(request.state.client, work)

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        service.desk.cancel(job)

    watcher = asyncio.create_task(leave())
    try:
        async for event in service.desk.events(job):
            yield event
    finally:
        service.desk.cancel(job)
        watcher.cancel()


async def answered(service: Service, request: Request, asked: Asked) -> AsyncGenerator[Event, None]:
    """The events of a question, counted for `/metrics`; see `watched`."""
    arrived = request.state.arrived
    begun = False
    async for event in watched(service, request, asked.work):
        if isinstance(event, TokenEvent):
            service.metrics.token(service.desk.working)
            if not begun:
                begun = True
                service.metrics.first(asked.pipeline.name, arrived)
        if isinstance(event, DoneEvent):
            service.metrics.answer(event.answer, arrived)
        yield event
