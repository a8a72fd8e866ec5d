"""Connections that do not bring their request in time are closed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimelyProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; the head of each request must come within `seconds`.

    Attributes:
        seconds: Longest time from a connection's start, or from the first byte of a later request, to its head's end.
    """

    seconds = 15.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client came."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """A piece came."""
        super().data_received(data)
        # a head that is still incomplete: no request is in work
        waits = self.cycle is None or self.cycle.response_complete
        if not waits:
            self._forget()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left."""
        self._forget()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
