"""The desk: questions wait their turn, clients in turns, and a few are worked on at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ragdecode.service.problem import Problem

#: Seconds that a question is taken to need before any has been answered.
_FIRST_GUESS = 5.0

#: Makes the events of a job; it is to end soon after the callable that it is given has become true.
Work = Callable[[Callable[[], bool]], Generator[Any, None, None]]


@dataclass(frozen=True)
class Failure:
    """A job ended with an error."""

    error: BaseException


class _End:
    """Marks that a job is over."""


@dataclass(eq=False)
class Job:
    """A question at the desk.

    Attributes:
        client: Who asks; clients take turns.
        work: What is to be done.
        deadline: `time.monotonic` when it is given up.
        started: When its work began; None while it waits.
        complete: Whether its work came to its own end.
    """

    client: str
    work: Work
    deadline: float
    loop: asyncio.AbstractEventLoop
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    events: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    complete: bool = False

    @property
    def over(self) -> bool:
        """Whether its work is to end: nobody waits for it any more, or its time is up."""
        return self.cancelled.is_set() or time.monotonic() > self.deadline

    def tell(self, event: Any) -> None:
        """Hand an event to whoever reads; from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:  # the loop is closed: nobody reads
            self.cancelled.set()


class Desk:
    """Takes questions in and works on a few at a time, each in a thread; the engine decodes them in one batch.

    Args:
        workers: Questions that are worked on at once.
        queue: Questions that may wait.
        queue_per_client: Questions of one client that may wait.
        seconds: Longest time from a question's arrival to its end.

    Attributes:
        finished: Jobs that have ended.
    """

    def __init__(self, *, workers: int, queue: int, queue_per_client: int, seconds: float) -> None:
        self._queue, self._queue_per_client, self._seconds = queue, queue_per_client, seconds
        self._workers = workers
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}
        self._ready = threading.Condition()
        self._closed = False
        self._recent = _FIRST_GUESS
        self.finished = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"desk-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        with self._ready:
            return sum(map(len, self._lines.values()))

    @property
    def working(self) -> int:
        """Questions that are worked on."""
        with self._ready:
            return len(self._jobs)

    def submit(self, client: str, work: Work) -> Job:
        """Put a question in its client's line. Call it from the event loop.

        Raises:
            Problem: 429 where the line is full, 503 where the service is closing.
        """
        job = Job(client, work, time.monotonic() + self._seconds, asyncio.get_running_loop())
        with self._ready:
            if self._closed:
                raise Problem(503, "closing", "the service is closing", retry_after=10)
            waiting, own = sum(map(len, self._lines.values())), len(self._lines.get(client, ()))
            busy = len(self._jobs) + waiting - self._workers
            full = busy >= self._queue
            if busy >= 0 and (full or own >= self._queue_per_client):
                raise Problem(
                    429,
                    "queue-full",
                    f"{waiting} questions wait already" if full else f"{own} of yours wait already",
                    hint="ask again later",
                    retry_after=min(600, max(1, round((waiting + 1) * self._recent / self._workers))),
                )
            self._lines.setdefault(client, deque()).append(job)
            self._ready.notify()
        return job

    async def events(self, job: Job) -> AsyncIterator[Any]:
        """The job's events as they come; leaving the iterator cancels the job.

        Raises:
            Problem: 504 where its time was up.
        """
        try:
            while True:
                rest = job.deadline - time.monotonic()
                try:
                    event = await asyncio.wait_for(job.events.get(), max(0.0, rest) + 0.05)
                except TimeoutError:
                    raise Problem(
                        504, "deadline", f"the answer took longer than {self._seconds:g} s", retry_after=30
                    ) from None
                if isinstance(event, _End):
                    if job.complete:
                        return
                    if self._closed:
                        raise Problem(503, "closing", "the service is closing", retry_after=10)
                    if job.cancelled.is_set():
                        return
                    continue  # its time is up: told as 504 above
                if isinstance(event, Failure):
                    raise event.error
                yield event
        finally:
            self.cancel(job)

    def cancel(self, job: Job) -> None:
        """Give a job up, from the event loop; its slots are free after the step that runs. Harmless at its end."""
        job.cancelled.set()
        job.events.put_nowait(_End())
        with self._ready:
            line = self._lines.get(job.client)
            if line is not None and job in line:
                line.remove(job)
                if not line:
                    del self._lines[job.client]

    def close(self, seconds: float = 5.0) -> bool:
        """Take nothing in any more, give up what is there, and wait for the threads; whether all of them ended."""
        with self._ready:
            self._closed = True
            lost = [*self._jobs.values(), *(job for line in self._lines.values() for job in line)]
            self._lines.clear()
            self._ready.notify_all()
        for job in lost:
            job.cancelled.set()
            job.tell(_End())
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _next(self) -> tuple[int, Job] | None:
        """The next job, clients in turns; None at the end."""
        with self._ready:
            while not self._lines and not self._closed:
                self._ready.wait()
            if not self._lines:
                return None
            client, line = next(iter(self._lines.items()))
            job = line.popleft()
            del self._lines[client]
            if line:
                self._lines[client] = line  # behind the others
            number = next(self._numbers)
            self._jobs[number] = job
            return number, job

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            number, job = taken
            job.started = time.monotonic()
            try:
                if not job.over:
                    with closing(job.work(lambda job=job: job.over)) as events:  # type: ignore[misc]
                        for event in events:
                            job.tell(event)
                            if job.over:
                                break
                        else:
                            job.complete = not job.over
            except BaseException as error:
                job.tell(Failure(error))
            finally:
                with self._ready:
                    del self._jobs[number]
                    self.finished += 1
                    self._recent += 0.2 * (time.monotonic() - job.started - self._recent)
                job.tell(_End())
