"""The one tree of exceptions that callers see; everything else is a bug of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RagDecodeError(Exception):
    """Root of all errors that are not bugs.

    Attributes:
        message: What went wrong, with the offending value.
        hint: What to do about it; shown on a line of its own.
        component: The part that failed (``store faiss``, ``reader pdf``), if one did.
        exit_code: Exit status of the command line for this kind of error.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, component: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.component = component

    def __str__(self) -> str:
        head = f"{self.component}: {self.message}" if self.component else self.message
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class InputError(RagDecodeError):
    """The user's input is wrong (exit code 2): a file, a value, a name, a question."""

    exit_code = 2


class RunError(RagDecodeError):
    """The input was fine but the run failed (exit code 1): disk, memory, network, damaged data."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of a YAML document.

    Attributes:
        message: What was found and what was expected.
        file: The file it stands in, as the user would name it; ``--set`` for an override.
        line: 1-based line, or None where there is none.
        path: Dotted path in the document, ``decode.rule.cad.alpha``.
        hint: The way out, such as the nearest valid name.
    """

    message: str
    file: str | None = None
    line: int | None = None
    path: str = ""
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{head} ({self.hint})" if self.hint else head


class SpecError(InputError):
    """One or more problems in YAML; all of a document at once.

    Attributes:
        problems: Every problem found, in document order.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))
