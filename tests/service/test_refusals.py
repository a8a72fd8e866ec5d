"""What the service refuses, and how it says so."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.service.conftest import client

KEY = "k" * 32


def send(service, method="POST", path="/v1/ask", **request):
    async def run():
        async with client(service) as http:
            return await http.request(method, path, **request)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"question": ""}, 422, "empty"),
        ({"question": "   "}, 422, "empty"),
        ({"question": "x" * 100_000}, 413, "8,000"),
        ({"question": "a\0b"}, 422, "NUL"),
        ({"question": "Why?", "pipeline": "nonsense"}, 404, "nonsense"),
        ({"question": "Why?", "colour": 1}, 422, "colour"),
        ({"question": "Why?", "conversation": "nobody's"}, 404, "conversation"),
        ({"question": "Why?", "conversation": "new", "history": []}, 422, "one of them"),
        ({"question": "Why?", "history": [{"role": "user", "content": "a"}] * 101}, 413, "100"),
        ({"question": "Why?", "passages": [{"text": "a"}] * 51}, 413, "50"),
        ({"question": "Why?", "settings": {"temperature": -1}}, 422, "temperature"),
        ({"question": 7}, 422, "question"),
        ([1], 422, ""),
    ],
)
def test_wrong_questions_are_told_what_is_wrong(serve, body, status, told):
    answer = send(serve(), json=body)
    assert answer.status_code == status
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert told in f"{problem['detail']} {problem['hint']}"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"\xff\xfe{", 400), (b'{"question": "\\ud800"}', 422), (b"[" * 100_000, 400), (b"", 422),
     (b'{"question": "a", "settings": {"temperature": NaN}}', 422), (b"9" * 5000, 400)],
)  # fmt: skip
def test_broken_bodies_are_refused(serve, content, status):
    answer = send(serve(), content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_a_body_that_is_too_large_or_of_another_type_is_refused(serve):
    service = serve(limits={"body_mb": 0.01})
    assert (
        send(service, content=b'"' + b"a" * 20_000 + b'"', headers={"content-type": "application/json"}).status_code
        == 413
    )
    assert send(service, content=b"question=a", headers={"content-type": "text/plain"}).status_code == 415


def test_keys_open_the_api_and_nothing_else_does(serve):
    service = serve(api_keys=(KEY,))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        answer = send(service, json={"question": "Why?"}, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    allowed = send(service, json={"question": "Why?", "passages": []}, headers={"Authorization": f"Bearer {KEY}"})
    assert allowed.status_code == 200
    assert send(service, "GET", "/health").status_code == 200
    assert send(service, "GET", "/metrics").status_code == 401
    assert KEY not in repr(service.settings)


def test_other_hosts_and_origins_are_refused_on_loopback(serve):
    service = serve()
    assert send(service, "GET", "/v1/pipelines", headers={"Host": "evil.example"}).status_code == 421
    evil = send(service, json={"question": "Why?"}, headers={"Origin": "http://evil.example"})
    assert evil.status_code == 403
    assert "access-control-allow-origin" not in evil.headers
    own = send(service, json={"question": "Why?", "passages": []}, headers={"Origin": "http://localhost"})
    assert own.status_code == 200


def test_headers_keep_browsers_from_running_anything(serve):
    answer = send(serve(), "GET", "/v1/pipelines", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == "abc-1"


def test_nothing_is_answered_before_the_models_are_loaded(serve):
    service = serve(ready=False)
    answers = [send(service, "GET", "/ready"), send(service, json={"question": "Why?", "passages": []})]
    assert [one.status_code for one in answers] == [503, 503]
    assert answers[0].headers["retry-after"]
    assert send(service, "GET", "/health").status_code == 200
    service.open()
    assert send(service, "GET", "/ready").status_code == 200


def test_more_than_the_queue_holds_is_told_when_to_come_back(serve):
    service = serve(workers=1, limits={"queue": 2}, decode={"max_new_tokens": 40})

    async def run():
        async with client(service) as http:
            sent = [http.post("/v1/ask", json={"question": f"Why {n}?", "passages": []}) for n in range(8)]
            return await asyncio.gather(*sent)

    answers = asyncio.run(run())
    statuses = sorted(one.status_code for one in answers)
    assert statuses == [200] * 3 + [429] * 5
    assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status_code == 429)


def test_an_answer_that_takes_too_long_is_given_up(serve):
    service = serve(limits={"deadline_seconds": 0.002}, decode={"max_new_tokens": 500})
    answer = send(service, json={"question": "Why?", "passages": []})
    assert answer.status_code == 504
    assert service.desk.working <= 1


def test_metrics_count_what_was_answered(serve):
    service = serve()
    found = send(service, json={"question": "Why?", "passages": []})
    assert found.status_code == 200
    text = send(service, "GET", "/metrics").text
    assert f'ragdecode_tokens_total{{pipeline="plain"}} {float(found.json()["stats"]["new_tokens"])}' in text
    assert 'route="/v1/ask",status="200"' in text
    assert "ragdecode_queue_waiting 0.0" in text


def test_the_slot_of_a_client_that_leaves_is_freed(serve):
    service = serve(workers=1, decode={"max_new_tokens": 400})

    async def run():
        async with client(service) as http:
            with pytest.raises(httpx.ReadTimeout):  # httpx's in-process transport tells it by cancelling
                await asyncio.wait_for(_impatient(http), 20)
            for _ in range(400):
                if service.desk.working == 0:
                    break
                await asyncio.sleep(0.01)
            return service.desk.working

    async def _impatient(http):
        task = asyncio.create_task(http.post("/v1/ask", json={"question": "Why?", "passages": []}))
        while service.desk.working == 0:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise httpx.ReadTimeout("left")

    assert asyncio.run(run()) == 0
