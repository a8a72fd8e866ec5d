"""Turns running out of memory into an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ragdecode.errors import RunError

_HINT = (
    "lower engine.max_batch, engine.prefill_tokens, decode.max_new_tokens or the number of passages, "
    "or take a smaller model or dtype"
)


@contextmanager
def memory_errors(stage: str) -> Iterator[None]:
    """Within it, running out of memory is a `RunError` that names the stage.

    Raises:
        RunError: There was not enough memory, on the host or on the device.
    """
    try:
        yield
    except MemoryError as error:
        raise RunError(f"{stage}: out of memory", hint=_HINT) from error
    except RuntimeError as error:
        if not _is_memory(error):
            raise
        first = str(error).splitlines()[0] if str(error) else "no details"
        raise RunError(f"{stage}: out of memory ({first})", hint=_HINT) from error


def _is_memory(error: RuntimeError) -> bool:
    import torch

    # The CPU allocator raises a plain RuntimeError; its text is the only mark it has.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
