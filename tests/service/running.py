"""A service behind a real socket, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ragdecode.service.app import create_app
from ragdecode.service.connections import TimelyProtocol
from ragdecode.service.service import Service


@contextmanager
def running(service: Service) -> Iterator[str]:
    """Its address."""
    protocol = type("P", (TimelyProtocol,), {"seconds": service.settings.limits.idle_seconds})
    config = uvicorn.Config(
        create_app(service),
        port=0,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        socket.close()
