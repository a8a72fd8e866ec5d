"""Clients that leave, that are slow, that break off, behind a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.service.running import running

HEAD = "POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


def raw(address, data):
    place = urlsplit(address)
    made = socket.create_connection((place.hostname, place.port), timeout=10)
    made.sendall(data)
    return made


def test_slots_of_clients_that_leave_are_freed_whether_they_stream_wait_or_stand_in_line(serve):
    service = serve(workers=2, decode={"max_new_tokens": 600})
    body = {"question": "Why so long?", "passages": []}
    with running(service) as address:
        for stream in (True, False):
            text = json.dumps(body | {"stream": stream}).encode()
            head = HEAD.format(len(text)).encode()
            made = [raw(address, head + text) for _ in range(5)]
            wait_for(lambda: service.desk.working == 2)
            for one in made:
                one.close()
            wait_for(lambda: service.desk.working == 0 and service.desk.waiting == 0)
        answer = httpx.post(f"{address}/v1/ask", json=body | {"settings": {"max_new_tokens": 2}}, timeout=30)
        assert answer.status_code == 200
    assert not service.shelf.first._models.engine._inboxes


def test_slow_requests_are_ended_while_others_are_answered(serve):
    service = serve(limits={"idle_seconds": 0.5})
    with running(service) as address:
        half_head = raw(address, b"POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        head = HEAD.format(50).encode()
        half_body = raw(address, head + b'{"question"')
        assert httpx.get(f"{address}/health").status_code == 200
        assert half_head.recv(1000) == b""
        assert half_body.recv(1000).startswith(b"HTTP/1.1 408")
        for one in (half_head, half_body):
            one.close()


def test_a_served_pipeline_answers_and_ends_within_seconds_of_sigterm(app, tmp_path):
    from tests.pipeline import tiny_app

    file = tiny_app.write_pipeline(app, "served", decode={"max_new_tokens": 900, "governor": "off"})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from ragdecode.cli.main import main; main()",
        "serve",
        str(file),
        "--port",
        str(port),
        "--only",
        "--shutdown",
        "1",
    ]
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")], stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    address = f"http://127.0.0.1:{port}"

    def ready():
        assert process.poll() is None, Path(log.name).read_text()
        try:
            return httpx.get(f"{address}/ready").status_code == 200
        except httpx.ConnectError:
            return False

    try:
        wait_for(ready, 60)
        with httpx.stream(
            "POST", f"{address}/v1/ask", json={"question": "Why?", "passages": [], "stream": True}, timeout=30
        ) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: passages"
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert process.wait(15) == 0
        assert time.monotonic() - begun < 15
        assert rest[-3].startswith(("event: done", "event: error")) or "event: error" in rest or "event: done" in rest
    finally:
        process.kill()
        process.wait()
        log.close()
