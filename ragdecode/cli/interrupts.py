"""Ctrl-C that is not lost in native code."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Seconds until an interrupt that came during an import is delivered again.
_AGAIN = 0.05


@contextmanager
def sure_interrupts() -> Iterator[None]:
    """Let no native code make something else of Ctrl-C inside the block.

    While an import runs it is held back: native modules swallow it half-way, or cannot be loaded again. Elsewhere
    it is raised at once, and an error that leaves the block after it is it in other words.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield  # somebody else decides what Ctrl-C means
        return
    raised: list[bool] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _importing(frame):
            raised.append(True)
            raise KeyboardInterrupt
        timer = threading.Timer(_AGAIN, _interrupt_main)
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if raised:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt_main() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # wakes it from waiting, too
    else:
        _thread.interrupt_main()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
