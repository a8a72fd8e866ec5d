"""What a build depends on, and what makes two indexes the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from ragdecode.indexing.files import FileEntry
from ragdecode.indexing.manifest import FORMAT, Manifest, StoreEntry
from ragdecode.spec.index import IndexSpec


def key(spec: IndexSpec, tokenizer: str, old: Manifest | None) -> str:
    """Hash of what passages depend on beside the files: only a build with the same key may go on with them.

    Args:
        spec: The index.
        tokenizer: Fingerprint of the tokenizer that counts.
        old: The index that is continued. What is taken over from it decides which texts are embedded together.
    """
    dumped = spec.model_dump(mode="json")
    base = [old.content, old.folder] if old else []
    corpus = [dumped["corpus"]["readers"], dumped["corpus"]["path"]]
    return _hash([FORMAT, version("ragdecode"), tokenizer, dumped["split"], corpus, base])


def content(
    spec: IndexSpec, tokenizer: str, files: Iterable[FileEntry], stores: Mapping[str, StoreEntry], passages: str
) -> str:
    """Hash that is equal for indexes that answer alike.

    Vectors are left out: their last bits depend on which texts were embedded together. So is where things are: the
    corpus, and what stores keep elsewhere.

    Args:
        spec: The index.
        tokenizer: Fingerprint of the tokenizer that counted.
        files: All files, in order.
        stores: All stores.
        passages: SHA-256 of the passages.
    """
    described = spec.model_dump(mode="json", exclude={"description": True, "corpus": {"path"}})
    sources = hashlib.sha256()
    for entry in files:
        sources.update(json.dumps([entry.source, entry.sha256]).encode() + b"\n")
    facts = {
        name: {fact: value for fact, value in entry.facts.items() if fact != "elsewhere"}
        for name, entry in stores.items()
    }
    return _hash([described, tokenizer, sources.hexdigest(), facts, passages])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
