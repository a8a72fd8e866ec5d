"""A real Chromium before the page; without one these tests are skipped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from shutil import which
from typing import Any

import pytest

from tests.service.page.stand_in import StandIn, stand_in

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := which(name))), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    """Address of a server, and a setter for the stand-in behind it."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    from tests.service.page.stand_in import create

    current: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await current["app"](scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.01)

    def use(known: StandIn) -> None:
        current["app"] = create(known)

    yield f"http://127.0.0.1:{listener.getsockname()[1]}/", use
    running.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def known(server: tuple[str, Any]) -> StandIn:
    made = stand_in()
    server[1](made)
    return made


class Console(list[str]):
    """What the page complained of."""


@pytest.fixture
def open_page(chromium: Any, server: tuple[str, Any], known: StandIn) -> Iterator[Any]:
    """Open the page in a fresh context; at the end the console must have been silent."""
    complaints = Console()
    contexts = []

    def opened(width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: complaints.append(sent.url) if not sent.url.startswith(server[0]) else None)
        page.goto(server[0])
        page.locator("#pipeline option").first.wait_for(state="attached")
        page.complaints = complaints
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
