"""``/v1/conversations``: what was said, and forgetting it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from ragdecode.service.problem import Problem
from ragdecode.service.service import Service

Identity = Annotated[str, Path(min_length=1, max_length=100, pattern="^[A-Za-z0-9-]+$")]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["conversations"])

    @routes.get("/v1/conversations")
    def conversations(request: Request) -> dict[str, Any]:
        """Your conversations, newest first."""
        return {"conversations": service.storage.conversations(request.state.owner)}

    @routes.get("/v1/conversations/{identity}")
    def conversation(identity: Identity, request: Request) -> dict[str, Any]:
        """The messages of a conversation, oldest first."""
        found = service.storage.conversation(identity, request.state.owner)
        if found is None:
            raise Problem(404, "no-such-conversation", "there is no such conversation")
        return {"id": identity, "messages": found}

    @routes.delete("/v1/conversations/{identity}", status_code=204)
    def forget(identity: Identity, request: Request) -> Response:
        """Forget a conversation."""
        if not service.storage.remove_conversation(identity, request.state.owner):
            raise Problem(404, "no-such-conversation", "there is no such conversation")
        return Response(status_code=204)

    return routes
