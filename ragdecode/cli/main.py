"""Entry point: runs the command, turns errors into one clear message and an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line; exit 0 fine, 1 the run failed, 2 the input was wrong, 130 interrupted."""
    if not _streams():
        sys.exit(1)
    try:
        _run()
    except KeyboardInterrupt:
        _end("interrupted", 130)


def _run() -> None:
    import click

    from ragdecode.cli.group import cli
    from ragdecode.cli.interrupts import sure_interrupts
    from ragdecode.errors import RagDecodeError

    try:
        with sure_interrupts():
            cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        _end("interrupted", 130)
    except RagDecodeError as error:
        _end(f"error: {error}", error.exit_code)
    except OSError as error:
        _silence_stdout()
        if not isinstance(error, BrokenPipeError):  # the reader has left: nothing to tell
            _end(f"error: {error.strerror or error}", 1)
        sys.exit(1)


def _end(message: str, code: int) -> None:
    with suppress(OSError):
        sys.stderr.write(f"{message}\n")
    sys.exit(code)


def _streams() -> bool:
    """Give closed standard streams a stand-in, so that no other file takes their number; whether stdout is open."""
    stdout = sys.stdout is not None
    # in the order of their numbers: the system gives out the lowest that is free
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if not stdout:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if not stdout:
        sys.stderr.write("error: stdout is closed: there is nowhere to write the answer\n")
    return stdout


def _silence_stdout() -> None:
    """Keep the interpreter from writing the rest of stdout at its exit, and failing again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
