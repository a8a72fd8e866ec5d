"""Collects the problems of a document, each with its place and its path as a user would write it."""

from __future__ import annotations

from collections.abc import Iterable

from ragdecode.errors import Problem, SpecError
from ragdecode.spec.node import Path_, Place


class Report:
    """Problems found so far, in document order at the end."""

    def __init__(self) -> None:
        self._problems: list[tuple[Path_, Problem]] = []
        #: list positions that are not shown, because a part's name says the same
        self.hidden: set[Path_] = set()

    def add(self, place: Place, path: Path_, message: str, hint: str | None = None) -> None:
        """Note a problem at a place; `path` counts as judged."""
        problem = Problem(message, place.source.label, place.line, self.show(path), hint)
        self._problems.append((path, problem))

    def extend(self, error: SpecError, place: Place, path: Path_) -> None:
        """Note the problems of another document that belong to ``path``; those without a file stand at ``place``."""
        for problem in error.problems:
            if problem.file is None:
                self.add(place, path, problem.message, problem.hint)
                continue
            shown = problem.path or self.show(path)
            moved = Problem(problem.message, problem.file, problem.line, shown, problem.hint)
            self._problems.append((path, moved))

    def append(self, path: Path_, problem: Problem) -> None:
        """Note a finished problem."""
        self._problems.append((path, problem))

    def judged(self, path: Path_) -> bool:
        """Whether a problem is known at the path or above it, so that what else is said of it is noise."""
        return any(path[: len(known)] == known for known, _ in self._problems)

    def show(self, path: Path_) -> str:
        """The path as ``--set`` takes it."""
        kept = (key for depth, key in enumerate(path) if path[: depth + 1] not in self.hidden)
        return ".".join(str(key) for key in kept)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def error(self) -> SpecError:
        """All problems: in document order, the main file's first."""
        problems = list(dict.fromkeys(problem for _, problem in self._problems))
        files = list(dict.fromkeys(_files(problems)))
        return SpecError(sorted(problems, key=lambda item: (files.index(item.file or ""), item.line or 0)))


def _files(problems: Iterable[Problem]) -> list[str]:
    return [problem.file or "" for problem in problems]
