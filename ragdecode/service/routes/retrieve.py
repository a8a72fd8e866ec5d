"""``/v1/retrieve``: what a pipeline finds for a query."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from fastapi import APIRouter, Request

from ragdecode.pipeline.passage_source import passage_of
from ragdecode.service.answering import check_text, watched
from ragdecode.service.bodies import Found, Retrieve
from ragdecode.service.problem import Problem
from ragdecode.service.service import Service


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["ask"])

    @routes.post("/v1/retrieve", response_model=Found)
    async def retrieve(body: Retrieve, request: Request) -> dict[str, Any]:
        """Passages, best first."""
        check_text(service, "the query", body.query)
        if body.k > service.settings.limits.passages:
            raise Problem(422, "too-many", f"k is {body.k}", hint=f"{service.settings.limits.passages} is the most")
        pipeline = service.shelf.get(body.pipeline)

        def work(stop: Callable[[], bool]) -> Generator[Any, None, None]:
            hits = pipeline.retrieve([body.query])[0][: body.k]
            yield [passage_of(hit, rank) for rank, hit in enumerate(hits, start=1)]

        async for found in watched(service, request, work):
            return {"passages": [{**one.to_json(), "metadata": dict(one.metadata)} for one in found]}
        raise Problem(499, "left", "the client has left")

    return routes
