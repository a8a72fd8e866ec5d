"""The page at ``/``: files of the package and nothing else, so that they need no key.

Every file is read once, when the router is made; a request only looks its name up, so no name can leave the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

#: What a browser may do on the page: run and show what the service itself serves, no inline script, no other hosts.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX = "index.html"


def router(service: Any) -> APIRouter:
    """Routes of the page: ``/`` and ``/page/...``.

    Args:
        service: Not looked at: the page asks the API like any other client.
    """
    found = {name: file.read_bytes() for name, file in _walk(files("ragdecode.service").joinpath("page"))}
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:24]}"' for name, data in found.items()}
    routes = APIRouter()

    @routes.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index(request: Request) -> Response:
        return _answer(_INDEX, request)

    @routes.api_route("/page/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    def file(name: str, request: Request) -> Response:
        if name not in found or name == _INDEX:
            raise HTTPException(404, "The page has no such file.")
        return _answer(name, request)

    def _answer(name: str, request: Request) -> Response:
        # asked for again each time, so that a new version of the service is a new page; answered from the tag
        headers = {
            "ETag": tags[name],
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(found[name], media_type=_TYPES[name.rpartition(".")[2]], headers=headers)

    return routes


def _walk(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    """The files of the page with their names below its folder; files of other kinds are no part of it."""
    for one in folder.iterdir():
        name = f"{above}{one.name}"
        if one.is_dir():
            yield from _walk(one, f"{name}/")
        elif one.name.rpartition(".")[2] in _TYPES:
            yield name, one
