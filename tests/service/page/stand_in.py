"""A service that answers from recordings of real pipelines, so that the page is tested without models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ragdecode.service.routes.page import POLICY, router

RECORDINGS = Path(__file__).parent / "recordings"
DOCS = Path(__file__).parents[3] / "docs"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

Events = list[dict[str, Any]]


def recorded(name: str) -> Events:
    """The events of one answer of a real pipeline."""
    return [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def written(pieces: list[str], sentences: list[dict[str, Any]], passages: list[dict[str, Any]]) -> Events:
    """Events of an answer made up for a test, without a trace."""
    answer = "".join(pieces)
    stats = {
        "new_tokens": len(pieces), "tokens_per_second": 1.0, "accepted": 0, "sources": {},
        "seconds": {"load": 0.0, "retrieve": 0.1, "prefill": 0.1, "decode": 0.3},
    }  # fmt: skip
    record = {
        "question": "q", "answer": answer, "finish_reason": "stop", "passages": passages, "sentences": sentences,
        "stats": stats, "pipeline": "made-up", "notes": [HOSTILE],
    }  # fmt: skip
    told: Events = [{"event": "passages", "passages": passages}]
    told += [{"event": "token", "text": piece, "token": i, "logprob": -0.5} for i, piece in enumerate(pieces)]
    told += [{"event": "sentence", "sentence": sentence} for sentence in sentences]
    return [*told, {"event": "done", "answer": record}]


def sentence(answer: str, text: str, score: float | None, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    start = answer.index(text)
    return {
        "text": text, "start": start, "end": start + len(text), "faithfulness": score,
        "faithful": None if score is None else score >= 0.5,
        "supported_by": [one["passage"] for one in evidence], "evidence": evidence,
    }  # fmt: skip


def hostile() -> Events:
    """Markup in the answer, the passage, the file's name; wide characters; an unsupported sentence."""
    pieces = ["🦀🦀 ", "crabs ", "walk. ", HOSTILE, " stays."]
    answer = "".join(pieces)
    passage = {"id": "p1", "source": f"{HOSTILE}.md", "text": f"🦀 Sideways 🦀 {HOSTILE} walk", "score": 1.0, "rank": 1}
    start = passage["text"].index("Sideways")
    evidence = [{"passage": "p1", "start": start, "end": start + len("Sideways 🦀")}]
    first = sentence(answer, "🦀🦀 crabs walk.", 0.9, evidence)
    second = sentence(answer, f"{HOSTILE} stays.", 0.1, [])
    events = written(pieces, [first, second], [passage])
    # text that is shown and taken back before the answer goes on
    wrong = [
        {"event": "token", "text": "Lobsters!", "token": 99, "logprob": -1.0},
        {"event": "retract", "characters": 0},
    ]
    return [events[0], *wrong, *events[1:]]


@dataclass
class StandIn:
    """What the stand-in knows, and what it was asked."""

    answers: dict[str, Events]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    aborted: int = 0
    pause: float = 0.0
    key: str = ""
    break_off: int | None = None

    def add(self, name: str, text: str, state: str = "ready") -> str:
        identity = f"d{len(self.documents) + 1}"
        self.documents[identity] = {
            "id": identity, "name": name, "state": state, "bytes": len(text.encode()), "passages": 1,
            "sha256": "0" * 64,
        }  # fmt: skip
        self.texts[identity] = text
        return identity


def stand_in() -> StandIn:
    known = StandIn({"docs-qa": recorded("docs-qa"), "neighbours": recorded("neighbours"), "hostile": hostile()})
    known.add("cli.md", (DOCS / "cli.md").read_text(encoding="utf-8"))
    known.add(f"{HOSTILE}.md", f"Before. 🦀 Sideways 🦀 {HOSTILE} walk. Behind.")
    return known


def problem(status: int, title: str, detail: str, hint: str = "", **headers: str) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "hint": hint}
    return JSONResponse(body, status, headers, "application/problem+json")


def create(known: StandIn) -> FastAPI:
    """The stand-in as an app; under the page's policy everywhere, as the service is."""
    app = FastAPI()
    app.include_router(router(None))

    @app.middleware("http")
    async def guard(request: Request, go: Any) -> Response:
        if (
            known.key
            and request.url.path.startswith("/v1")
            and request.headers.get("authorization") != f"Bearer {known.key}"
        ):
            return problem(401, "A key is wanted", "This service answers those who have a key.")
        answer: Response = await go(request)
        answer.headers.setdefault("Content-Security-Policy", POLICY)
        return answer

    @app.get("/v1/pipelines")
    def pipelines() -> list[dict[str, Any]]:
        return [
            {"name": name, "description": f"Answers as {name} did.", "headline": "cad", "model": "m"}
            for name in known.answers
        ]

    @app.post("/v1/ask")
    async def ask(request: Request) -> Response:
        asked = await request.json()
        known.asked.append(asked)
        if asked["question"] == "busy":
            return problem(429, "Too many questions wait", "The queue is full.", **{"Retry-After": "7"})
        return StreamingResponse(_told(known, known.answers[asked["pipeline"]], asked), media_type="text/event-stream")

    @app.get("/v1/documents")
    def documents() -> dict[str, Any]:
        found = [dict(one) for one in known.documents.values()]
        for one in known.documents.values():  # the next look finds it further
            one["state"] = {"received": "indexing", "indexing": "ready"}.get(one["state"], one["state"])
        return {"documents": found}

    @app.post("/v1/documents", status_code=202)
    async def upload(request: Request) -> Response:
        async with request.form() as form:
            file: Any = form["files"]
            data = await file.read()
        if not data:
            return problem(422, "The file is empty", f"{file.filename} has no bytes.", "Choose another file.")
        identity = known.add(file.filename, data.decode(), "received")
        return JSONResponse({"documents": [known.documents[identity]]}, 202)

    @app.get("/v1/documents/{identity}/text")
    def text(identity: str) -> PlainTextResponse:
        return PlainTextResponse(known.texts[identity])

    @app.delete("/v1/documents/{identity}", status_code=204)
    def delete(identity: str) -> Response:
        del known.documents[identity]
        return Response(status_code=204)

    return app


async def _told(known: StandIn, events: Events, asked: dict[str, Any]) -> AsyncIterator[str]:
    try:
        for count, event in enumerate(events):
            if known.break_off is not None and count >= known.break_off:
                return
            data = event | ({"conversation": "c1"} if event["event"] == "done" else {})
            yield f"event: {event['event']}\ndata: {json.dumps(data)}\n\n"
            if known.pause:
                await asyncio.sleep(known.pause)
    except asyncio.CancelledError:
        known.aborted += 1
        raise
