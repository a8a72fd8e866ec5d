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
    """

    name: str
    seconds: float
    summary: str


@dataclass(frozen=True)
class BuildReport:
    """Outcome of a build.

    Attributes:
        added: Files that are new.
        changed: Files whose content has changed.
        removed: Files that are gone, or can no longer be read.
        unchanged: Files taken over from the index before.
        skipped: Files left out, with the reason.
        passages: Passages in the index.
        tokens: Tokens in them, overlaps counted twice.
        fresh: Whether an index was there to continue from; False after a change of spec or model, or damage.
        built: Whether anything was written; False if the index was up to date.
        reason: Why the old index could not be continued; empty if it was, or if there was none.
        stages: What each stage did; empty if nothing was written.
        content: Hash over all that the index answers from.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    passages: int
    tokens: int
    fresh: bool
    built: bool
    reason: str
    stages: tuple[StageReport, ...]
    content: str

    def __str__(self) -> str:
        if not self.built:
            return f"up to date: {self.unchanged} files, {self.passages} passages"
        done = f"added {_files(self.added)}, changed {self.changed}, removed {self.removed}"
        return f"{done}, {self.passages} passages" + (f", skipped {_files(len(self.skipped))}" if self.skipped else "")


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
