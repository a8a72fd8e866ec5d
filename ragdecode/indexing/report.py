"""What a build did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragdecode.documents.walk import Skipped
from ragdecode.errors import InputError


@dataclass(frozen=True)
class StageReport:
    """One stage of a build.

    Attributes:
        name: ``read``, ``store bm25``, ...
        seconds: How long it took.
        summary: What it did.
        passages: Passages it went through; 0 for stages that do not count them.
        files: Files it went through; 0 for stages that do not count them.
    """

    name: str
    seconds: float
    summary: str
    passages: int = 0
    files: int = 0

    def __str__(self) -> str:
        counts = [(self.files, "file"), (self.passages, "passage")]
        told = [self.summary, *(counted(count, noun) for count, noun in counts if count)]
        rates = [f"{count / self.seconds:,.0f} {noun}s/s" for count, noun in counts if count and self.seconds > 0]
        return (
            f"{self.name}: {', '.join(part for part in told if part)} ({', '.join((f'{self.seconds:.1f} s', *rates))})"
        )


@dataclass(frozen=True)
class BuildReport:
    """Outcome of a build.

    Attributes:
        content: Hash over spec, models, files and passages: equal for indexes that answer alike.
        files: Files in the index.
        passages: Passages in the index.
        tokens: Tokens in them, overlaps counted twice.
        skipped: Files left out, with the reason.
        added: Files that are new.
        changed: Files whose content has changed.
        removed: Files that are gone, or can no longer be read.
        unchanged: Files taken over from the index before.
        flaws: Parts of files that could not be read, while the rest could.
        resumed: Files that an interrupted build had read; they are among those added or changed.
        resumed_texts: Texts that an interrupted build had embedded, in stores that it did not finish.
        fresh: Whether everything was built anew: there was no index, or it could not be continued.
        built: Whether an index was written; False if the one in place was up to date.
        reason: Why the old index could not be continued; empty if it was, or if there was none.
        stages: What each stage did; empty if nothing was written.
    """

    content: str
    files: int
    passages: int
    tokens: int
    skipped: tuple[Skipped, ...] = ()
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    flaws: tuple[Skipped, ...] = ()
    resumed: int = 0
    resumed_texts: int = 0
    fresh: bool = False
    built: bool = False
    reason: str = ""
    stages: tuple[StageReport, ...] = ()

    def __str__(self) -> str:
        """One line: ``added 3 files, changed 1, removed 0, 57 passages``."""
        left_out = f", skipped {counted(len(self.skipped), 'file')}" if self.skipped else ""
        passages = counted(self.passages, "passage")
        if not self.built:
            return f"up to date: {counted(self.files, 'file')}, {passages}{left_out}"
        done = f"added {counted(self.added, 'file')}, changed {self.changed}, removed {self.removed}"
        return f"{done}, {passages}{left_out}"


class EmptyCorpusError(InputError):
    """There is nothing to index.

    Attributes:
        skipped: Files that could not be read, with the reason.
    """

    def __init__(self, message: str, *, hint: str, skipped: Sequence[Skipped]) -> None:
        super().__init__(message, hint=hint)
        self.skipped = tuple(skipped)


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 file``, ``12,000 files``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def in_bytes(size: float) -> str:
    """A size for people, in powers of 1000: ``1.2 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
