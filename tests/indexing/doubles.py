"""Small deterministic stand-ins for models, and small corpora."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdecode.indexing.build import build_index
from ragdecode.indexing.index import Index, open_index
from ragdecode.indexing.report import BuildReport
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.model import ModelSpec

ENCODER = {"kind": "encoder", "source": {"path": {"path": "/models/hashed"}}}

TEXTS = {
    "fruit/apple.md": "# Apples\n\nApples are red or green. They grow on trees in an orchard.\n",
    "fruit/pear.md": "# Pears\n\nPears are green. A pear tree bears in autumn.\n",
    "sky.txt": "The sky is blue. Clouds are white, and rain falls from dark clouds.\n",
    "sea.html": "<html><body><h1>Sea</h1><p>The sea is blue and green, and salty.</p></body></html>",
}


def word_offsets(text: str) -> list[tuple[int, int]]:
    """Tokens are words and marks."""
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


class WordIds:
    """A tokenizer of 60,000 ids: one for each word or mark, by hash. Keeps the texts that it is given."""

    fingerprint = "words-1"
    vocab_size = 60_000

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, text: str, special: bool) -> list[int]:
        self.read.append(text)
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        return [int(hashlib.md5(word.encode()).hexdigest(), 16) % self.vocab_size for word in words]


class HashedWords:
    """An encoder: counts of words by hash. Counts the texts it is given."""

    def __init__(self, dimension: int = 64, fingerprint: str = "hashed-1") -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        if role == "document":
            self.encoded.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                vector[int(hashlib.md5(word.encode()).hexdigest(), 16) % self.dimension] += 1
        return vectors


def index_spec(root: Path, stores: Sequence[Any] = ("bm25", {"faiss": {"encoder": ENCODER}}), **more: Any) -> IndexSpec:
    spec = {"corpus": {"path": str(root), **more.pop("corpus", {})}, "stores": list(stores), **more}
    return IndexSpec.model_validate(spec)


def put(root: Path, texts: dict[str, str] | None = None) -> None:
    for name, text in (TEXTS if texts is None else texts).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def build(spec: IndexSpec, target: Path, encoder: HashedWords | None = None, **more: Any) -> BuildReport:
    def encoders(model: ModelSpec) -> HashedWords:
        return encoder or HashedWords()

    settings = {"token_offsets": word_offsets, "tokenizer_fingerprint": "words-1", "encoders": encoders, **more}
    return build_index(spec, target, **settings)


def opened(target: Path, spec: IndexSpec | None = None, encoder: HashedWords | None = None) -> Index:
    return open_index(target, spec, encoders=lambda model: encoder or HashedWords())


def answers(index: Index, query: str = "blue sea and sky", k: int = 4) -> list[tuple[str, str, float]]:
    return [
        (store, hit.passage.id, round(hit.score, 5))
        for store in index.stores
        for hit in index.search(store, [query], k)[0]
    ]
