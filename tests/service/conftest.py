from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from ragdecode.service.app import create_app
from ragdecode.service.service import Service
from ragdecode.service.settings import Limits, ServiceSettings
from tests.pipeline import tiny_app
from tests.pipeline.conftest import app, tiny_model  # noqa: F401 - fixtures

DECODE = {"max_new_tokens": 12, "governor": "off", "max_draft_nodes": 8}


@pytest.fixture
def serve(app: Path, tmp_path: Path):  # noqa: F811
    """Makes services over the tiny app: `plain` answers from given passages, `search` looks for them."""
    opened: list[Service] = []

    def build(
        *,
        limits: dict[str, Any] | None = None,
        decode: dict[str, Any] | None = None,
        ready: bool = True,
        **settings: Any,
    ) -> Service:
        files = [
            tiny_app.write_pipeline(app, "plain", decode=DECODE | (decode or {})),
            tiny_app.write_pipeline(app, "search", search=True, decode=DECODE | (decode or {})),
        ]
        made = Service(
            files,
            ServiceSettings(limits=Limits(**(limits or {})), **settings),
            tmp_path / f"data{len(opened)}",
            others=False,
        )
        if ready:
            made.open()
        opened.append(made)
        return made

    yield build
    for one in opened:
        one.close()


def client(service: Service, **settings: Any) -> httpx.AsyncClient:
    """A client of the service in this process."""
    transport = httpx.ASGITransport(app=create_app(service), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60, **settings)


def events(text: str) -> list[tuple[str, Any]]:
    """The server-sent events of a body."""
    import json

    found = []
    for block in text.strip().split("\n\n"):
        kind, data = block.split("\n", 1)
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
