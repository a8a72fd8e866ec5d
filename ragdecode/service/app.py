"""The service as a web application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ragdecode.errors import RagDecodeError
from ragdecode.service.bodies import ProblemBody
from ragdecode.service.guard import Guard
from ragdecode.service.problem import Problem
from ragdecode.service.routes import ask, chat, conversations, health, page, pipelines, retrieve
from ragdecode.service.service import Service
from ragdecode.version import __version__

_PROBLEM = {"model": ProblemBody, "content": {"application/problem+json": {}}}


def create_app(service: Service) -> FastAPI:
    """The routes over a service. The service is closed with the application; whoever made it opens it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="ragdecode",
        version=__version__,
        description="Answers from documents, with what shows why to believe them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={status: {**_PROBLEM, "description": text} for status, text in _REFUSALS.items()},
    )
    for routes in (health, ask, retrieve, pipelines, conversations, chat, page):
        app.include_router(routes.router(service))
    app.add_exception_handler(Problem, _told)
    app.add_exception_handler(RagDecodeError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Guard, service=service)
    return app


_REFUSALS: dict[int | str, str] = {
    400: "The request is not well formed.",
    401: "A key is wanted.",
    403: "Not allowed.",
    404: "There is no such thing.",
    405: "The method is not for this address.",
    408: "The request came too slowly.",
    413: "Too large.",
    415: "Wrong content type.",
    421: "The service is not reached under this name.",
    422: "The request says something that cannot be.",
    429: "Too many questions wait; see Retry-After.",
    503: "Not ready, closing, or failed.",
    504: "The answer took too long.",
}


def _response(request: Request, problem: Problem, param: str | None = None) -> Response:
    told, kind = problem.response(request.url.path, request.state.request_id, param)
    return JSONResponse(told, problem.status, problem.headers, kind)


async def _told(request: Request, error: Exception) -> Response:
    return _response(request, Problem.of(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail if isinstance(error.detail, str) else "the request was refused"
    codes = {400: "malformed", 404: "not-found", 405: "wrong-method"}
    response = _response(request, Problem(error.status_code, codes.get(error.status_code, "refused"), detail))
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: list[dict[str, Any]] = list(error.errors())
    broken = any(one["type"] == "json_invalid" for one in found)
    places = [".".join(str(step) for step in one["loc"][1:])[:200] for one in found]
    lines = [f"{place}: {one['msg']}" if place else one["msg"] for place, one in zip(places, found, strict=True)]
    told = "; ".join(lines[:5]).encode("utf-8", "replace").decode()
    problem = Problem(400 if broken else 422, "malformed" if broken else "invalid", told)
    return _response(request, problem, next(iter(places), None))
