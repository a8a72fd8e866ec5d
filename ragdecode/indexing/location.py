"""Where the index of a pipeline lives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ragdecode.errors import SpecError
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.load import LoadedDocument, load_document


def index_path(document: LoadedDocument) -> Path:
    """Folder of the index of a loaded pipeline or index file.

    An app keeps its indexes beside itself, in ``.ragdecode/indexes/NAME``; those of the catalogue are in the user's
    cache folder, as ``indexes/NAME-HASH``. Overrides of what is indexed (another corpus, another splitting) get an
    index of their own, named with a hash, and leave that of the file as written alone.
    """
    spec = _index_of(document)
    assert spec is not None, "a pipeline without an index has no place for it"
    if document.from_catalogue:
        from ragdecode.models.store import cache_folder

        return cache_folder() / "indexes" / f"{document.name}-{_hash(spec)}"
    name = document.name if _as_written(document, spec) else f"{document.name}-{_hash(spec)}"
    return document.app_root / ".ragdecode" / "indexes" / name


def _index_of(document: LoadedDocument) -> IndexSpec | None:
    found: IndexSpec | None = document.spec if document.kind == "indexes" else document.spec.index
    return found


def _as_written(document: LoadedDocument, spec: IndexSpec) -> bool:
    """Whether no override has changed the index."""
    try:
        return _index_of(load_document(document.kind, document.file)) == spec
    except SpecError:  # it is valid with its overrides only
        return False


def _hash(spec: IndexSpec) -> str:
    described = spec.model_dump(mode="json", exclude={"description"})
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
