"""What of an earlier index still holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.manifest import Manifest
from ragdecode.spec.index import IndexSpec


def continuable(target: Path, spec: IndexSpec, tokenizer: str) -> tuple[Manifest | None, str]:
    """The manifest of the index in the folder if its passages still hold, else None and why not.

    The reason is empty if there is no index.
    """
    try:
        old = manifests.read(target)
    except RunError as error:
        return None, error.message
    if old is None:
        return None, ""
    for problem in manifests.damage(target, old, hashes=False):
        return None, f"the old index is damaged: {problem}"
    if old.tokenizer != tokenizer:
        return None, "the tokenizer is another one"
    if old.spec["split"] != spec.split.model_dump(mode="json"):
        return None, "passages are split otherwise"
    if old.spec["corpus"].get("readers", []) != spec.model_dump(mode="json")["corpus"]["readers"]:
        return None, "files are read otherwise"
    return old, ""


def untouched(old: Manifest, spec: IndexSpec, found: Sequence[Found | Skipped]) -> bool:
    """Whether the walk alone shows that nothing has changed: same files, sizes and times.

    It cannot where loaders bring documents: they have no times.
    """
    if spec.corpus.loaders or not same_spec(old, spec) or len(found) != len(old.files) + len(old.skipped):
        return False
    files = {(entry.source, entry.size, entry.mtime_ns) for entry in old.files}
    files |= {(entry.source, entry.size, entry.mtime_ns) for entry in old.skipped}
    skipped = {(entry.source, entry.reason) for entry in old.skipped}
    return all(
        (item.source, item.reason) in skipped
        if isinstance(item, Skipped)
        else (item.source, item.size, item.mtime_ns) in files
        for item in found
    )


def same_spec(old: Manifest, spec: IndexSpec) -> bool:
    """Whether the index was built from this spec, descriptions aside."""
    return difference(old.spec, spec.model_dump(mode="json")) == ""


def difference(built: Any, now: Any, place: str = "index") -> str:
    """The first difference of two dumped specs, descriptions aside; empty if there is none."""
    if isinstance(built, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*built, *now)):
            if key != "description" and (found := difference(built.get(key), now.get(key), f"{place}.{key}")):
                return found
        return ""
    if isinstance(built, list) and isinstance(now, list) and len(built) == len(now):
        inner = (difference(*pair, f"{place}.{at}") for at, pair in enumerate(zip(built, now, strict=True)))
        return next(filter(None, inner), "")
    return "" if built == now else f"{place} was {built!r}, now {now!r}"
