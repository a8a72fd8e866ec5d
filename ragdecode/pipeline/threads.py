"""Runs generators in a thread for asyncio; cancelling the waiter closes the generator at its next step."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def exhaust(steps: Generator[Any, None, T]) -> T:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


async def exhaust_in_thread(make: Callable[[], Generator[Any, None, T]]) -> T:
    """Run a generator to its end in a thread and return its value."""
    stop = threading.Event()

    def work() -> T | None:
        steps = make()
        try:
            while not stop.is_set():
                next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            steps.close()
        return None  # nobody waits any more

    context = contextvars.copy_context()
    try:
        result = await asyncio.get_running_loop().run_in_executor(None, context.run, work)
    finally:
        stop.set()
    assert result is not None
    return result


async def iterate_in_thread(make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """The items of an iterator that runs in a thread."""
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def tell(item: Any) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        items = make()
        try:
            for item in items:
                if stop.is_set():
                    return
                tell(item)
        finally:
            if isinstance(items, Generator):
                items.close()
            if not stop.is_set():
                tell(_END)

    context = contextvars.copy_context()
    worker = loop.run_in_executor(None, context.run, work)
    try:
        while (item := await queue.get()) is not _END:
            yield item
        await worker  # its error, if it failed
    finally:
        stop.set()
