"""``/v1/ask``: a question, answered at once or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ragdecode.pipeline.events import DoneEvent, Event, TokenEvent
from ragdecode.pipeline.plain_json import plain_json
from ragdecode.pipeline.trace import trace_data
from ragdecode.service.answering import Asked, answered, check_history, check_text, settings_of
from ragdecode.service.bodies import Ask
from ragdecode.service.problem import Problem
from ragdecode.service.service import Service

_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["ask"])

    @routes.post("/v1/ask", response_class=JSONResponse, responses={200: {"content": _STREAM}})
    async def ask(body: Ask, request: Request) -> Response:
        """Answer a question with the object of ``ragdecode ask --json``.

        With ``stream``, or ``Accept: text/event-stream``: events ``passages``, ``token``, ``retract``, ``sentence``,
        ``action``, then ``done`` with that object, or ``error``.
        """
        answering = await _Answering.of(service, body, request)
        if body.stream or "text/event-stream" in request.headers.get("accept", ""):
            first = await anext(answering.events, None)
            return StreamingResponse(answering.stream(first), media_type="text/event-stream")
        return await answering.whole()

    return routes


class _Answering:
    """One question, its conversation and its events."""

    def __init__(self, service: Service, request: Request, body: Ask, asked: Asked, conversation: str | None) -> None:
        self._service, self._request, self._body = service, request, body
        self._asked, self._conversation = asked, conversation
        self.events = answered(service, request, asked)

    @classmethod
    async def of(cls, service: Service, body: Ask, request: Request) -> _Answering:
        """The question of a request.

        Raises:
            Problem: There is no such pipeline or conversation, or something is too long.
        """
        from starlette.concurrency import run_in_threadpool

        check_text(service, "the question", body.question)
        most = service.settings.limits.passages
        if len(body.passages or ()) > most:
            raise Problem(413, "too-many-passages", f"{len(body.passages or ())} passages", hint=f"{most} are the most")
        history = [message.model_dump() for message in body.history or ()]
        if body.conversation is not None:
            if body.history is not None:
                raise Problem(422, "invalid", "history and conversation say the same", hint="give one of them")
            history = await run_in_threadpool(_said, service, body.conversation, request.state.owner)
        else:
            check_history(service, history)
        asked = Asked(
            service.shelf.get(body.pipeline),
            body.question,
            history,
            None if body.passages is None else [one.model_dump(exclude_none=True) for one in body.passages],
            settings_of(body.settings),
            body.alternatives,
            body.explain,
        )
        return cls(service, request, body, asked, body.conversation)

    async def whole(self) -> Response:
        """The record."""
        async with aclosing(self.events) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    return JSONResponse(event.answer.to_json() | await self._kept(event))
        raise Problem(499, "left", "the client has left")

    async def stream(self, first: Event | None) -> AsyncGenerator[str, None]:
        """The events as text."""
        try:
            if first is not None:
                yield _event(first)
            async with aclosing(self.events) as events:
                async for event in events:
                    yield _event(event, await self._kept(event) if isinstance(event, DoneEvent) else {})
        except Exception as error:
            told = Problem.of(error).to_json(self._request.state.request_id)
            yield f"event: error\ndata: {_json({'event': 'error', **told})}\n\n"

    async def _kept(self, done: DoneEvent) -> dict[str, Any]:
        """Add the turn to its conversation; what the record says beside the answer."""
        from starlette.concurrency import run_in_threadpool

        found: dict[str, Any] = {}
        if self._body.alternatives:
            found["trace"] = trace_data(done.answer)
        if self._conversation is not None:
            owner = self._request.state.owner
            found["conversation"] = await run_in_threadpool(
                _keep, self._service, self._conversation, owner, self._asked.question, done.answer.answer
            )
        return found


def _said(service: Service, conversation: str, owner: str) -> list[dict[str, str]]:
    """The messages of a conversation that a question follows.

    Raises:
        Problem: 404.
    """
    if conversation == "new":
        return []
    found = service.storage.conversation(conversation, owner)
    if found is None:
        raise Problem(404, "no-such-conversation", "there is no such conversation", hint='"new" begins one')
    latest = found[-service.settings.limits.messages :]
    return [{"role": one["role"], "content": one["content"]} for one in latest]


def _keep(service: Service, conversation: str, owner: str, question: str, answer: str) -> str:
    identity = service.storage.new_conversation(owner) if conversation == "new" else conversation
    service.storage.add_turn(identity, [("user", question), ("assistant", answer.replace("\0", ""))])
    return identity


def _event(event: Event, more: dict[str, Any] | None = None) -> str:
    data = event.to_json() | (more or {})
    if isinstance(event, TokenEvent) and event.record is not None:
        record = event.record
        signals = {"position": record.position, "views": record.views, "source": record.source}
        data |= plain_json(signals | ({"rules": record.explained} if record.explained else {}))
    return f"event: {event.kind}\ndata: {_json(data)}\n\n"


def _json(data: Any) -> str:
    # ASCII: some clients take other characters for ends of lines
    return json.dumps(data, allow_nan=False)
