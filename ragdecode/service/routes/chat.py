"""``/v1/chat/completions`` and ``/v1/models``, as OpenAI's clients use them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ragdecode.pipeline.answer import Answer
from ragdecode.pipeline.events import DoneEvent, Event
from ragdecode.service.answering import Asked, answered, check_history, check_text
from ragdecode.service.chat_bodies import Chat
from ragdecode.service.chat_text import ChatText
from ragdecode.service.problem import Problem
from ragdecode.service.service import Service

_REASONS = {"length": "length"}
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["openai"])
    begun = int(time.time())

    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": begun, "owned_by": "ragdecode"}

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The pipelines; a model's id is its pipeline's name."""
        return {"object": "list", "data": [model(name) for name in service.shelf.names]}

    @routes.get("/v1/models/{name}")
    async def one(name: str) -> dict[str, Any]:
        """One of them."""
        return model(service.shelf[name].name)

    @routes.post("/v1/chat/completions", response_class=JSONResponse, responses={200: {"content": _STREAM}})
    async def chat(body: Chat, request: Request) -> Response:
        """Answer the last message, which is the user's; those before it are the history.

        The passages of the answer are in ``ragdecode.passages`` of the (last) object.
        """
        asked = _asked(service, body)
        completion = _Completion(request, body, asked, answered(service, request, asked))
        if not body.stream:
            return await completion.whole()
        first = await anext(completion.events, None)
        return StreamingResponse(completion.stream(first), media_type="text/event-stream")

    return routes


def _asked(service: Service, body: Chat) -> Asked:
    """The question of a request.

    Raises:
        Problem: It is no question, or asks for what is not there.
    """
    pipeline = service.shelf[body.model]
    *earlier, last = body.turns()
    if last["role"] != "user":
        raise Problem(422, "invalid", f"the last message is the {last['role']}'s", hint="end with the user's")
    check_text(service, "the last message", last["content"])
    check_history(service, earlier)
    return Asked(pipeline, last["content"], earlier, settings=body.settings())


class _Completion:
    """One completion."""

    def __init__(self, request: Request, body: Chat, asked: Asked, events: AsyncGenerator[Event, None]) -> None:
        self._request, self._body, self.events = request, body, events
        self._text = ChatText(asked.pipeline)
        self._id, self._created = f"chatcmpl-{request.state.request_id}", int(time.time())

    async def whole(self) -> Response:
        """One object."""
        async with aclosing(self.events) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    message = {"role": "assistant", "content": event.answer.shown, "refusal": None}
                    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(event.answer)}
                    found = self._object("chat.completion", [choice]) | {"usage": _usage(event.answer)}
                    return JSONResponse(found | _more(event.answer))
        raise Problem(499, "left", "the client has left")

    async def stream(self, first: Event | None) -> AsyncGenerator[str, None]:
        """Chunks as server-sent events, ``[DONE]`` at the end."""
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            if first is not None and (text := self._text.follow(first)):
                yield self._chunk({"content": text})
            async with aclosing(self.events) as events:
                async for event in events:
                    if text := self._text.follow(event):
                        yield self._chunk({"content": text})
                    if isinstance(event, DoneEvent):
                        yield self._chunk({}, _reason(event.answer), **_more(event.answer))
                        if self._body.wants_usage:
                            yield _data(self._object("chat.completion.chunk", []) | {"usage": _usage(event.answer)})
                        yield "data: [DONE]\n\n"
        except Exception as error:
            yield _data(Problem.of(error).to_openai())

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._body.wants_usage else {}
        return _data(self._object("chat.completion.chunk", [choice]) | usage | more)

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._body.model, "choices": choices}


def _usage(answer: Answer) -> dict[str, int]:
    prompt, new = answer.stats.prompt_tokens, answer.stats.new_tokens
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def _reason(answer: Answer) -> str:
    return _REASONS.get(answer.finish_reason, "stop")


def _more(answer: Answer) -> dict[str, Any]:
    return {
        "ragdecode": {
            "passages": [passage.to_json() for passage in answer.passages],
            "sentences": [sentence.to_json() for sentence in answer.sentences],
            "notes": list(answer.notes),
        }
    }


def _data(found: dict[str, Any]) -> str:
    return f"data: {json.dumps(found, allow_nan=False)}\n\n"
