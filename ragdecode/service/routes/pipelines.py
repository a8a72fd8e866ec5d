"""``/v1/pipelines``: what can be asked."""

from __future__ import annotations

from fastapi import APIRouter

from ragdecode.service.bodies import PipelineBody
from ragdecode.service.service import Service


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["pipelines"])

    @routes.get("/v1/pipelines", response_model=list[PipelineBody])
    async def pipelines() -> list[dict[str, object]]:
        """The pipelines; the first one answers where a request names none."""
        return [service.shelf.describe(name) for name in service.shelf.names]

    return routes
