"""Classes that a user could have written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore


class JsonStore(VectorStore):
    """A vector store in a JSON file, compared by the inner product."""

    def __init__(self, embedding_function: Embeddings, path: str) -> None:
        self.embedding_function = embedding_function
        self.path = Path(path)

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        texts = list(texts)
        assert metadatas
        assert ids
        rows = zip(texts, metadatas, self.embedding_function.embed_documents(texts), strict=True)
        self.path.write_text(json.dumps(self._read() | dict(zip(ids, rows, strict=True))))
        return ids

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> None:
        self.path.write_text(json.dumps({key: value for key, value in self._read().items() if key not in (ids or ())}))

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        def score(row: Any) -> float:
            return -sum(x * y for x, y in zip(row[2], embedding, strict=True))

        rows = sorted(self._read().values(), key=score)[:k]
        return [Document(page_content=text, metadata=metadata) for text, metadata, _ in rows]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return self.similarity_search_by_vector(self.embedding_function.embed_query(query), k)

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Embeddings, *args: Any, **kwargs: Any) -> JsonStore:
        raise AssertionError("a store that persists is made by its constructor")


class Mute(JsonStore):
    """One that cannot search by vector."""

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        raise NotImplementedError
