"""What of an earlier index still holds."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.files import Entry, SkippedEntry, read_listing
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
    for problem in chain(manifests.damage(target, old, hashes=False), manifests.listing_damage(target, old)):
        return None, f"the old index is damaged: {problem}"
    if old.tokenizer != tokenizer:
        return None, "the tokenizer is another one"
    if old.spec["split"] != spec.split.model_dump(mode="json"):
        return None, "passages are split otherwise"
    if old.spec["corpus"].get("readers", []) != spec.model_dump(mode="json")["corpus"]["readers"]:
        return None, "files are read otherwise"
    return old, ""


def untouched(target: Path, old: Manifest, spec: IndexSpec, found: Collection[Found | Skipped]) -> bool:
    """Whether the walk alone shows that nothing has changed: same files, sizes and times, in the same order.

    It cannot where loaders bring documents: they have no times.
    """
    if spec.corpus.loaders or not same_spec(old, spec):
        return False
    if len(found) != old.listing.files + old.listing.skipped:
        return False
    return all(map(_same, found, read_listing(target, old)))


def _same(item: Found | Skipped, entry: Entry) -> bool:
    if item.source != entry.source:
        return False
    if isinstance(item, Skipped):
        return isinstance(entry, SkippedEntry) and item.reason == entry.reason
    return (item.size, item.mtime_ns) == (entry.size, entry.mtime_ns)


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
