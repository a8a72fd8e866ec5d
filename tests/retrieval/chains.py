"""Chains over a small index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ragdecode.indexing.index import Index
from ragdecode.retrieval.chain import RetrievalChain
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.spec.part import Part, Retrievers
from tests.indexing.doubles import build, index_spec, opened, put


def small_index(folder: Path, **spec: Any) -> Index:
    put(folder / "docs")
    build(index_spec(folder / "docs", **spec), folder / "index")
    return opened(folder / "index")


def stages(*written: Any) -> Sequence[Part]:
    return TypeAdapter(Retrievers).validate_python(list(written))


def chain(index: Index, *written: Any, **context: Any) -> RetrievalChain:
    return RetrievalChain(stages(*written), RetrievalContext(index, **context))
