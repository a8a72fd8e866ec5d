"""Sentence encoders as LangChain embeddings."""

from __future__ import annotations

import hashlib
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from ragdecode.indexing.vectors.embedding import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray

    from ragdecode.indexing.store import Encoder


def as_embeddings(encoder: Encoder) -> Embeddings:
    """The encoder as LangChain ``Embeddings``: vectors of length 1, queries and documents each in their role."""
    return _embeddings(lambda: encoder, dict, None)


def known_embeddings(encoder: Callable[[], Encoder], texts: Iterable[str], vectors: NDArray[np.float32]) -> Embeddings:
    """Embeddings that know the vectors of these texts, so that only others are encoded.

    Args:
        encoder: Gives the encoder when it is first needed.
        texts: Texts of the rows of ``vectors``; gone through with the first documents, and only their hashes are kept.
        vectors: May be a memory map ``[len(texts), dimension]``.
    """
    return _embeddings(encoder, cache(lambda: {_hash(text): row for row, text in enumerate(texts)}), vectors)


def _embeddings(
    encoder: Callable[[], Encoder], table: Callable[[], dict[bytes, int]], vectors: NDArray[np.float32] | None
) -> Embeddings:
    from langchain_core.embeddings import Embeddings

    lock = Lock()  # retrievers ask from several threads at once

    class EncoderEmbeddings(Embeddings):
        """A sentence encoder."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            """Vectors of passages."""
            with lock:
                known = table()
                rows = [known.get(_hash(text)) for text in texts] if known else [None] * len(texts)
                fresh = [text for text, row in zip(texts, rows, strict=True) if row is None]
                made = iter(unit(encoder().encode(fresh, role="document")).tolist() if fresh else ())
            return [next(made) if row is None or vectors is None else vectors[row].tolist() for row in rows]

        def embed_query(self, text: str) -> list[float]:
            """The vector of a question."""
            with lock:
                vector: list[float] = unit(encoder().encode([text], role="query"))[0].tolist()
            return vector

    return EncoderEmbeddings()


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
