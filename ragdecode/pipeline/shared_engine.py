"""Lets threads share one engine: their requests are decoded in one batch, and whoever waits does the step."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragdecode.decoding.events import DoneEvent, Event, FailedEvent
from ragdecode.decoding.request import Request
from ragdecode.errors import InputError, RunError
from ragdecode.pipeline.memory import memory_errors

if TYPE_CHECKING:
    from ragdecode.decoding.engine import Engine


class SharedEngine:
    """An engine behind a lock that is held for one step at a time, never while a caller handles an event.

    Attributes:
        lock: Held during a step; whoever uses the engine's models outside a step takes it too.
    """

    def __init__(self, engine: Engine, max_batch: int) -> None:
        self.lock = threading.RLock()
        self._engine = engine
        self._max_batch = max_batch
        self._inboxes: dict[str, _Inbox] = {}

    def forget_prefixes(self) -> None:
        """Let go of what was kept of earlier prompts."""
        with self.lock:
            self._engine.forget_prefixes()

    def run(self, requests: Iterable[Request], stop: Callable[[], bool] | None = None) -> Generator[Event, None, None]:
        """Decode requests, at most ``max_batch`` at a time, and yield their events as they happen.

        A request whose id is in flight elsewhere waits until that one is done. Closing the iterator, or an
        exception in it, frees the slots of everything it had in flight.

        Args:
            requests: What is decoded.
            stop: Asked between steps; once it is true the iterator ends, and what was in flight is let go.

        Raises:
            InputError: A request cannot be run.
            RunError: Memory ran out, here or in another thread's request of the same batch.
        """
        inbox = _Inbox()
        flying: set[str] = set()
        coming = iter(requests)
        upcoming = next(coming, None)
        try:
            while upcoming is not None or flying:
                if stop is not None and stop():
                    return
                while upcoming is not None and len(flying) < self._max_batch and self._submit(upcoming, inbox, flying):
                    upcoming = next(coming, None)
                for event in self._advance(inbox):
                    if isinstance(event, FailedEvent):
                        raise event.error
                    if isinstance(event, DoneEvent):
                        flying.discard(event.request)
                    yield event
        finally:
            self._cancel(flying)

    def _submit(self, request: Request, inbox: _Inbox, flying: set[str]) -> bool:
        with self.lock:
            if request.id in self._inboxes:
                return False
            flying.add(request.id)
            self._inboxes[request.id] = inbox
            try:
                self._engine.submit(request)
            except InputError:
                flying.discard(request.id)
                del self._inboxes[request.id]
                raise
            return True

    def _advance(self, inbox: _Inbox) -> list[Event]:
        """The events that came since the last call, after a step if there were none."""
        with self.lock:
            if not inbox.events and inbox.failure is None and self._inboxes:
                self._step()
            if inbox.failure is not None:
                failure, inbox.failure = inbox.failure, None
                raise RunError(f"decoding failed beside another request: {failure}") from failure
            events = list(inbox.events)
            inbox.events.clear()
            return events

    def _step(self) -> None:
        """One step; if it fails, nothing that was in flight is left in the engine."""
        try:
            with memory_errors("decoding"):
                events = self._engine.step()
        except BaseException as error:
            owners = {id(inbox): inbox for inbox in self._inboxes.values()}
            for inbox in owners.values():
                inbox.failure = error
            with suppress(Exception):  # the first error is the one to tell
                self._cancel(list(self._inboxes))
            raise
        for event in events:
            if (owner := self._inboxes.get(event.request)) is not None:
                owner.events.append(event)
            if isinstance(event, DoneEvent | FailedEvent):
                self._inboxes.pop(event.request, None)

    def _cancel(self, ids: Iterable[str]) -> None:
        with self.lock:
            gone = [identity for identity in ids if self._inboxes.pop(identity, None) is not None]
            for identity in gone:
                self._engine.cancel(identity)
            if gone:
                self._step()  # the engine lets go of cancelled requests at its next step


@dataclass
class _Inbox:
    """What one caller has not yet read."""

    events: deque[Event] = field(default_factory=deque)
    failure: BaseException | None = None
