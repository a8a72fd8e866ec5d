"""Vectors of passages that were found, for stages that compare them with one another and with the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.store import Vectors

#: the store whose vectors are taken where no encoder is named
STORE = "faiss"
_Encode = Callable[[Sequence[str], Literal["query", "document"]], "NDArray[np.float32]"]


def check_encoder(encoder: ModelSpec | None, store: str | None) -> None:
    """Refuse, with a `ValueError`, a model that gives no vectors, and two sources of vectors."""
    if encoder is not None and store is not None:
        raise ValueError("expected a store of the index or an encoder, not both")
    if encoder is not None and encoder.kind != "encoder":
        raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; vectors need one of kind encoder")


class Likeness:
    """Where a stage's vectors come from: a store of the index, or an encoder of its own.

    Args:
        stage: Its name, for errors.
        context: Index and models.
        encoder: The encoder; None to take those of the store.
        store: The store; `STORE` if left out.
    """

    def __init__(
        self, stage: str, context: RetrievalContext, encoder: ModelSpec | None, store: str | None = None
    ) -> None:
        self._component = f"retriever {stage}"
        self._context = context
        self._model = encoder
        self._store = store or STORE

    def of_passages(self, hits: Sequence[list[Hit]]) -> list[NDArray[np.float32]]:
        """Vectors of each list's passages, of length 1 ``[len(list), dimension]``; each passage is looked up once."""
        import numpy as np

        distinct = {self._key(hit): hit for found in hits for hit in found}
        rows = [hit.row for key, hit in distinct.items() if hit.row is not None and self._in_store(hit)]
        texts = [hit.passage.text for hit in distinct.values() if not self._in_store(hit)]
        stored = iter(self._from_store(rows)) if rows else iter(())
        encoded = iter(self._encoded(texts, "document")) if texts else iter(())
        vectors = {key: next(stored if self._in_store(hit) else encoded) for key, hit in distinct.items()}
        return [np.array([vectors[self._key(hit)] for hit in found], np.float32) for found in hits]

    def of_texts(self, texts: Sequence[str], role: Literal["query", "document"]) -> NDArray[np.float32]:
        """Vectors of length 1 ``[len(texts), dimension]``."""
        return self._encoded(texts, role)

    def _in_store(self, hit: Hit) -> bool:
        return self._model is None and hit.row is not None

    def _key(self, hit: Hit) -> int | str:
        return hit.row if self._model is None and hit.row is not None else hit.passage.text

    def _from_store(self, rows: Sequence[int]) -> NDArray[np.float32]:
        return self._searcher().vectors(rows)

    def _encoded(self, texts: Sequence[str], role: Literal["query", "document"]) -> NDArray[np.float32]:
        if self._model is None:
            return self._searcher().encode(texts, role)
        from ragdecode.indexing.vectors.embedding import unit

        if self._context.encoders is None:
            raise RunError("it needs an encoder, and no models can be loaded", component=self._component)
        return unit(self._context.encoders(self._model).encode(texts, role=role))

    def _searcher(self) -> Vectors:
        from ragdecode.indexing.store import Vectors

        searcher = self._context.opened(self._component.split()[-1]).searcher(self._store)
        if not isinstance(searcher, Vectors):
            raise InputError(
                f"the store {self._store!r} has no vectors",
                hint="name a store that ranks by vectors, such as faiss, or an encoder",
                component=self._component,
            )
        return searcher
