"""The page before the real service, over tiny models: what it asks for is what the service gives."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from ragdecode.service.app import create_app
from tests.pipeline.conftest import app, tiny_model  # noqa: F401 - fixtures
from tests.service.conftest import serve  # noqa: F401 - fixture


@pytest.fixture
def address(serve):  # noqa: F811
    uvicorn = pytest.importorskip("uvicorn")
    service = serve(decode={"monitor": {"signals": {}}})
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(create_app(service), log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    running.should_exit = True
    thread.join(10)
    listener.close()


def test_two_pipelines_of_the_real_service_answer_on_the_page(chromium, address):
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    said = []
    page.on(
        "console", lambda one: said.append(f"{one.text} {one.location}") if one.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.locator("#pipeline option").first.wait_for(state="attached")
    names = page.locator("#pipeline option").all_inner_texts()
    assert set(names) == {"plain", "search"}
    page.select_option("#pipeline", "search")
    page.select_option("#other", "plain")
    page.fill("#question", "Who built the bridge of Tollin?")
    page.keyboard.press("Enter")
    page.locator(".same").wait_for(timeout=30_000)
    answers = page.locator(".answer-card")
    assert answers.count() == 2
    assert answers.first.locator("h3").inner_text() == "search"
    assert answers.locator(".problem").all_inner_texts() == []
    assert answers.first.locator(".sources").is_visible()  # found in the index
    assert not answers.nth(1).locator(".sources").is_visible()
    # the tokens of the record are on the page, each with its probability
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("t")
    answers.first.locator(".sentence").first.click()
    panel = page.locator("#panel-token")
    assert " of 12 from the model" in panel.inner_text()
    assert panel.locator("table tbody tr").count() >= 5
    # a follow-up goes on with the conversation that the service began
    page.select_option("#other", "")
    with page.expect_request("**/v1/ask") as asked:
        page.fill("#question", "and why")
        page.keyboard.press("Enter")
    assert asked.value.post_data_json["conversation"] not in ("new", None)
    page.locator(".turn").nth(1).wait_for()
    page.locator(".turn").first.locator(".facts div").first.wait_for(timeout=30_000)
    context.close()
    assert [one for one in said if "/v1/documents" not in one] == []
