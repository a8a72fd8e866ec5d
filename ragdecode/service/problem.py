"""What goes wrong for a client: a status, a name for programs, sentences for people (RFC 9457)."""

from __future__ import annotations

import logging
import re
from typing import Any

from ragdecode.errors import InputError, RagDecodeError

_log = logging.getLogger(__name__)
_OPENAI = re.compile(r"/v1/(chat|models)\b")


class Problem(Exception):  # noqa: N818 - named as RFC 9457 does
    """A refusal.

    Attributes:
        status: HTTP status.
        code: Short name for programs, ``queue-full``.
        detail: What is wrong, for people.
        hint: What to do about it.
        retry_after: Seconds after which another try may work.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint, self.retry_after = status, code, detail, hint, retry_after

    @staticmethod
    def of(error: BaseException) -> Problem:
        """An error as clients are told of it; what is a bug of the service is logged and not told."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, InputError):
            return Problem(422, "bad-input", error.message, hint=error.hint)
        if isinstance(error, RagDecodeError):
            _log.error("a request failed: %s", error.message)
            return Problem(503, "failed", error.message, hint=error.hint, retry_after=10)
        _log.error("a request failed", exc_info=error)
        return Problem(500, "internal", "the service failed; its log says why under the request's id")

    def to_json(self, request_id: str = "") -> dict[str, Any]:
        """The body of the response, ``application/problem+json``."""
        title = self.code.replace("-", " ").capitalize()
        found = {"type": f"urn:ragdecode:{self.code}", "title": title, "status": self.status, "detail": self.detail}
        return found | {"hint": self.hint, "request_id": request_id}

    def to_openai(self, param: str | None = None) -> dict[str, Any]:
        """The body of the response as OpenAI's clients read it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        message = f"{self.detail} ({self.hint})" if self.hint else self.detail
        code = {"no-such-pipeline": "model_not_found"}.get(self.code, self.code.replace("-", "_"))
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self, path: str, request_id: str = "", param: str | None = None) -> tuple[dict[str, Any], str]:
        """Body and content type for a path: OpenAI's clients read its errors, all others RFC 9457."""
        if _OPENAI.match(path):
            return self.to_openai(param), "application/json"
        return self.to_json(request_id), "application/problem+json"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})
