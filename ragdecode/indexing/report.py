"""What a build did."""

from __future__ import annotations

from dataclasses import dataclass

from ragdecode.documents.walk import Skipped


@dataclass(frozen=True)
class StageReport:
    """One stage of a build.

    Attributes:
        name: ``read``, ``store bm25``, ...
        seconds: How long it took.
        summary: What it did.
        passages: Passages it went through; 0 for stages that do not count them.
    """

    name: str
    seconds: float
    summary: str
    passages: int = 0

    def __str__(self) -> str:
        counted = f", {self.passages} passages" if self.passages else ""
        rate = f", {self.passages / self.seconds:.0f}/s" if self.passages and self.seconds > 0 else ""
        return f"{self.name}: {self.summary}{counted} ({self.seconds:.1f} s{rate})"


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
    fresh: bool = False
    built: bool = False
    reason: str = ""
    stages: tuple[StageReport, ...] = ()

    def __str__(self) -> str:
        """One line: ``added 3 files, changed 1, removed 0, 57 passages``."""
        left_out = f", skipped {_files(len(self.skipped))}" if self.skipped else ""
        if not self.built:
            return f"up to date: {_files(self.files)}, {self.passages} passages{left_out}"
        done = f"added {_files(self.added)}, changed {self.changed}, removed {self.removed}"
        return f"{done}, {self.passages} passages{left_out}"


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
