"""What builds say to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from unicodedata import category

from ragdecode.cli.answer_view import printable

if TYPE_CHECKING:
    from ragdecode.documents.inventory import Inventory
    from ragdecode.documents.walk import Skipped
    from ragdecode.indexing.estimate import Estimate

#: skipped files, and kinds of files left out, that are shown
_SKIPPED, _KINDS = 50, 8


def left_out_lines(inventory: Inventory) -> Iterator[str]:
    """What the corpus does not ask for, by kind."""
    from ragdecode.documents.walk import EXCLUDED, HIDDEN, NOT_INCLUDED

    patterns = inventory.left_out[NOT_INCLUDED] + inventory.left_out[EXCLUDED]
    for why, kinds in (("by include/exclude", patterns), ("as hidden", inventory.left_out[HIDDEN])):
        if kinds:
            yield f"left out {why}: {_kinds(kinds)}"


def skipped_lines(skipped: Sequence[Skipped], where: str, how: str = "") -> Iterator[str]:
    """A line for each file skipped, up to a limit.

    Args:
        skipped: What was skipped, and why.
        where: Tells how to see the others.
        how: ``in part`` for what is missing of files that were read.
    """
    for one in skipped[:_SKIPPED]:
        yield f"skipped {how and f'{how} '}{shown(one.source)}: {' '.join(printable(one.reason).split())}"
    if len(skipped) > _SKIPPED:
        yield f"... and {len(skipped) - _SKIPPED:,} more; {where}"


def left_out_counts(inventory: Inventory) -> dict[str, dict[str, int]]:
    """The same for programs: number by reason and suffix (``/`` for folders, empty for no suffix)."""
    return {reason: dict(sorted(kinds.items())) for reason, kinds in inventory.left_out.items() if kinds}


def estimate_object(expected: Estimate | None) -> dict[str, Any] | None:
    """An estimate for programs; None if there is nothing to do."""
    return None if expected is None else {**asdict(expected), "fits": expected.fits}


def shown(name: str) -> str:
    """A file's name on one line, as a Python string if it holds something that would not stay there."""
    return name if all(category(char)[0] != "C" and char not in "\u2028\u2029" for char in name) else repr(name)


def _kinds(kinds: dict[str, int]) -> str:
    """``12 files (.png 10, .json 2), 1 folder``."""
    from ragdecode.indexing.report import counted

    suffixes = sorted(
        ((count, name) for name, count in kinds.items() if name != "/"), key=lambda one: (-one[0], one[1])
    )
    named = [f"{shown(name) or 'no suffix'} {count:,}" for count, name in suffixes[:_KINDS]]
    if len(suffixes) > _KINDS:
        named.append(f"others {sum(count for count, _ in suffixes[_KINDS:]):,}")
    parts = []
    if suffixes:
        files = counted(sum(count for count, _ in suffixes), "file")
        parts.append(files if [name for _, name in suffixes] == [""] else f"{files} ({', '.join(named)})")
    if kinds.get("/"):
        parts.append(counted(kinds["/"], "folder"))
    return ", ".join(parts)
