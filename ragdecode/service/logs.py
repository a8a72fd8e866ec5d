"""Log lines with the request's id: JSON for programs, text for people. Questions and keys are not in them."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

#: Id of the request that is answered; empty outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_FIELDS = ("method", "path", "status", "milliseconds")


class Lines(logging.Formatter):
    """Formats records.

    Args:
        form: ``json`` or ``text``.
    """

    def __init__(self, form: Literal["json", "text"]) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := REQUEST_ID.get():
            found["request_id"] = identity
        found |= {name: record.__dict__[name] for name in _FIELDS if name in record.__dict__}
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        if self._form == "json":
            return json.dumps(found, ensure_ascii=False)
        error = found.pop("error", None)
        rest = " ".join(f"{name}={json.dumps(found[name])}" for name in ("request_id", *_FIELDS) if name in found)
        line = f"{found['time']} {found['level']} {found['message']} {rest}".rstrip()
        return f"{line}\n{error}" if error else line


def set_up(form: Literal["json", "text"], level: int = logging.INFO) -> None:
    """Write the package's and uvicorn's log lines to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(form))
    for name in ("ragdecode", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
