"""What stands before every route: who asks, from where, how much, how slowly; headers, ids, the log of requests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragdecode.service.logs import REQUEST_ID
from ragdecode.service.loopback import LOOPBACK, is_loopback
from ragdecode.service.problem import Problem
from ragdecode.service.service import Service

_log = logging.getLogger("ragdecode.service.requests")
_MB = 1_000_000
#: Paths that need no key: whether it lives, and the page, which asks for the key itself.
_OPEN = re.compile(r"/|/page/.*|/health|/ready|/favicon\.ico")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        service: Settings, metrics.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        settings = service.settings
        self._keys = [_digest(key.get_secret_value()) for key in settings.api_keys]
        named = {name.lower() for name in settings.names}
        self._names = named | ({*LOOPBACK, settings.host.lower()} if is_loopback(settings.host) else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._service.settings.limits.idle_seconds)
        token = REQUEST_ID.set(exchange.id)
        try:
            await self._pass(scope, receive, exchange)
        except Exception as error:
            if exchange.status:  # the response has begun: it can only be cut off
                _log.error("a response was cut off", exc_info=error)
                raise
            await exchange.refuse(Problem.of(error))
        finally:
            route = getattr(scope.get("route"), "path", "")
            seconds = time.monotonic() - exchange.arrived
            self._service.metrics.request(scope["method"] if route else "", route, exchange.status, seconds)
            _log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": exchange.status,
                    "milliseconds": round(1000 * seconds, 1),
                },
            )
            REQUEST_ID.reset(token)

    async def _pass(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_names(headers, scope["method"])
        state = scope.setdefault("state", {})
        key = self._check_key(headers, scope["path"])
        state["owner"] = key or "local"
        state["client"] = key or (scope.get("client") or ("local",))[0]
        state["request_id"], state["arrived"] = exchange.id, exchange.arrived
        if scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
            await self._app(scope, receive, exchange.send)
        elif scope["path"] == "/v1/documents":
            _check_type(headers, "multipart/form-data")
            await self._app(scope, self._counted(receive, headers, exchange), exchange.send)
        else:
            body = await self._body(receive, headers)
            if body:
                _check_type(headers, "application/json")
            await self._app(scope, _replayed(body, receive), exchange.send)

    def _check_names(self, headers: Mapping[str, str], method: str) -> None:
        """Refuse pages of other sites, and names that were made to point here (DNS rebinding)."""
        host = headers.get("host", "")
        if self._names and _name(host) not in self._names:
            raise Problem(421, "wrong-host", "the service is not reached under this name", hint="see --name")
        origin = headers.get("origin")
        if origin is not None and method not in ("GET", "HEAD") and urlsplit_host(origin) != host.lower():
            raise Problem(403, "wrong-origin", "pages of other sites may not use the service")

    def _check_key(self, headers: Mapping[str, str], path: str) -> str | None:
        """The name of the key that came with the request."""
        if not self._keys or _OPEN.fullmatch(path):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip())
        found = [hmac.compare_digest(digest, known) for known in self._keys]  # all, so that time tells nothing
        if scheme.lower() != "bearer" or not any(found):
            raise Problem(
                401, "key-wanted", "the service answers those who have a key", hint="Authorization: Bearer KEY"
            )
        return digest[:32]

    async def _body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body of a request that is no upload."""
        most = int(self._service.settings.limits.body_mb * _MB)
        _check_length(headers, most)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._timely(receive)
            if message["type"] == "http.disconnect":
                raise Problem(400, "broken-off", "the request broke off")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _counted(self, receive: Receive, headers: Mapping[str, str], exchange: _Exchange) -> Receive:
        """The body of an upload as it comes; what is too large or too slow breaks off, and is refused."""
        most = int(self._service.settings.limits.upload_total_mb * _MB)
        _check_length(headers, most)
        state = {"size": 0, "more": True}

        async def counted() -> Message:
            if not state["more"]:
                return await receive()
            try:
                message = await self._timely(receive)
                state["size"] += len(message.get("body", b""))
                if state["size"] > most:
                    raise _too_large(most)
            except Problem as problem:
                exchange.refusal = problem
                return {"type": "http.disconnect"}
            state["more"] = bool(message.get("more_body", False))
            return message

        return counted

    async def _timely(self, receive: Receive) -> Message:
        seconds = self._service.settings.limits.idle_seconds
        try:
            return await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            raise Problem(408, "too-slow", f"nothing more of the request came for {seconds:g} s") from None


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send, seconds: float) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.arrived = time.monotonic()
        self.status = 0
        self.refusal: Problem | None = None
        self._path, self._send, self._seconds = scope["path"], send, seconds
        self._refused = False

    async def send(self, message: Message) -> None:
        """Pass on what is sent, with headers; in its place the refusal, if there is one."""
        if self.refusal is not None and not self.status:
            await self.refuse(self.refusal)
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._with(message.get("headers", []))}
        try:
            await asyncio.wait_for(self._send(message), self._seconds)
        except TimeoutError:
            raise OSError("the client does not read") from None

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem."""
        told, kind = problem.response(self._path, self.id)
        body = json.dumps(told).encode()
        headers = {"content-type": kind, "content-length": str(len(body)), **problem.headers}
        if problem.status in (408, 413):
            headers["connection"] = "close"  # the rest of the body is not read
        self.status = problem.status
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": self.status, "headers": self._with(raw)})
        await self._send({"type": "http.response.body", "body": body})
        self._refused = True

    def _with(self, headers: Any) -> list[tuple[bytes, bytes]]:
        there = {name.lower() for name, _ in headers}
        more = {**_HEADERS, "x-request-id": self.id}
        return [*headers, *((n.encode(), v.encode()) for n, v in more.items() if n.encode() not in there)]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _name(host: str) -> str:
    """A host without its port, in small letters."""
    host = host.lower().strip()
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


def urlsplit_host(origin: str) -> str:
    """Host and port of an origin; empty where it has none."""
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return ""


def _check_type(headers: Mapping[str, str], wanted: str) -> None:
    found = headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != wanted:
        raise Problem(415, "wrong-type", f"expected {wanted}, found {found[:80] or 'no content type'}")


def _check_length(headers: Mapping[str, str], most: int) -> None:
    told = headers.get("content-length", "0")
    if told.isdecimal() and int(told[:20]) > most:
        raise _too_large(most)


def _too_large(most: int) -> Problem:
    return Problem(413, "too-large", "the request is too large", hint=f"{most:,} bytes are the most")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body, then what comes."""
    left = [body]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay
