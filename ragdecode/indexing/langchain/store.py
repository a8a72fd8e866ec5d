"""A LangChain vector store that holds the passages of an index, among whatever else is in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError, RagDecodeError, RunError
from ragdecode.indexing.langchain.embeddings import known_embeddings
from ragdecode.indexing.manifest import REBUILD_ALL
from ragdecode.spec.class_path import check_arguments, construct, load_class

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoder, Encoders
    from ragdecode.indexing.stores.langchain import LangChainStoreSettings

BASE, SHORT = "langchain_core.vectorstores.VectorStore", "langchain_community.vectorstores"
#: classes that forget everything when they are let go
IN_MEMORY = ("InMemoryVectorStore", "FAISS", "Annoy", "DocArrayInMemorySearch", "SKLearnVectorStore", "TileDB")
#: what classes call the argument that takes the embeddings
EMBEDDINGS = ("embedding", "embeddings", "embedding_function", "embedding_service")
#: key of a document's metadata that names its passage
KEY = "ragdecode"
_BATCH = 256
#: documents asked for beyond those wanted, so that ties with the last are seen, and the most that are asked for
_MORE, _MOST = 16, 16_384
_WHERE = "store langchain: vector_store"


@dataclass(frozen=True)
class Shelf:
    """The names of one build's passages.

    Builds of an index take turns between two shelves, so that the passages of the index in place stay until it is
    replaced.

    Attributes:
        identity: Name of the index.
        turn: ``a`` or ``b``.
        count: How many passages there are.
    """

    identity: str
    turn: str
    count: int

    @classmethod
    def after(cls, context: BuildContext, count: int) -> Shelf:
        """The shelf that the index in place does not use."""
        standing = (context.standing or {}).get("elsewhere", {}).get("turn")
        return cls(context.identity, "b" if standing == "a" else "a", count)

    @classmethod
    def of(cls, facts: Mapping[str, Any], count: int) -> Shelf:
        """The shelf that a build has filled."""
        return cls(**facts["elsewhere"]) if "elsewhere" in facts else cls("memory", "a", count)

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"identity": self.identity, "turn": self.turn, "count": self.count}

    @property
    def _head(self) -> str:
        return f"{self.identity}-{self.turn}-"

    def name(self, row: int) -> str:
        """Name of a passage: a document's id, and under `KEY` in its metadata."""
        return f"{self._head}{row}"

    def row(self, document: Document) -> int | None:
        """The row of a document; None if it is not of this build."""
        name = str(document.metadata.get(KEY, document.id or ""))
        digits = name.removeprefix(self._head)
        if not name.startswith(self._head) or not digits.isdecimal() or int(digits) >= self.count:
            return None
        return int(digits)


def open_shelf(
    settings: LangChainStoreSettings,
    shelf: Shelf,
    texts: Iterable[str],
    vectors: NDArray[np.float32] | None,
    encoders: Encoders,
) -> Kept:
    """Make the vector store that YAML names; one that lives in memory is made when it is filled.

    Raises:
        InputError: There is no such class, or it does not take these arguments.
        RunError: It cannot be made, because its database cannot be reached.
    """
    check_arguments(settings.arguments, trust=settings.trust, where="store langchain: arguments")
    found = load_class(settings.vector_store, base=BASE, module=SHORT, trust=settings.trust, where=_WHERE)
    known: Iterable[str] = () if vectors is None else texts
    empty: Any = ()
    embeddings = known_embeddings(lambda: encoders(settings.encoder), known, empty if vectors is None else vectors)
    persistent = found.__name__ not in IN_MEMORY if settings.persistent == "auto" else settings.persistent
    kept = Kept(found, dict(settings.arguments), embeddings, shelf, persistent)
    if persistent:
        kept.connect()
    return kept


def discard(settings: LangChainStoreSettings, elsewhere: Mapping[str, Any]) -> None:
    """Remove the passages of a shelf.

    Raises:
        RunError: The class cannot delete, or its database cannot be reached.
    """

    def no_encoder(model: Any) -> Encoder:
        raise RunError("nothing is embedded to remove passages", component=_WHERE)

    open_shelf(settings, Shelf(**elsewhere), (), None, no_encoder).clear()


class Kept:
    """A vector store with the passages of an index in it.

    Attributes:
        persistent: Whether it keeps them beyond this process.
    """

    def __init__(
        self, found: type, arguments: dict[str, Any], embeddings: Embeddings, shelf: Shelf, persistent: bool
    ) -> None:
        self.persistent = persistent
        self._class: Any = found
        self._arguments = arguments
        self._embeddings = embeddings
        self._shelf = shelf
        self._store: VectorStore | None = None

    @property
    def name(self) -> str:
        """Name of the class."""
        return str(self._class.__name__)

    def connect(self) -> None:
        """Make it as it is, with what it already has."""
        taken = inspect.signature(self._class).parameters
        name = next((one for one in EMBEDDINGS if one in taken and one not in self._arguments), None)
        own = {} if name is None else {name: self._embeddings}
        self._store = construct(self._class, {**own, **self._arguments}, where=_WHERE)

    def fill(self, passages: PassageTable, done: Callable[[int], None]) -> None:
        """Put all passages in."""
        names = [self._shelf.name(row) for row in range(self._shelf.count)]
        if self._store is None:
            marks: list[dict[str, Any]] = [{KEY: name} for name in names]
            texts = list(passages.texts())
            arguments = {"texts": texts, "embedding": self._embeddings, "metadatas": marks, "ids": names}
            self._store = construct(self._class.from_texts, {**arguments, **self._arguments}, where=_WHERE)
            return
        with suppress(RunError):  # it can only be there if a build was killed, and mostly is overwritten then
            self.clear()
        with self._told("cannot take the passages"):
            for first in range(0, len(names), _BATCH):
                batch = passages[first : first + _BATCH]
                ids = names[first : first + _BATCH]
                metadata = [{"source": passage.source, KEY: name} for passage, name in zip(batch, ids, strict=True)]
                self._store.add_texts([passage.text for passage in batch], metadata, ids=ids)
                done(first + len(batch))
            persist = getattr(self._store, "persist", None)
            if callable(persist):
                persist()

    def clear(self) -> None:
        """Remove all passages."""
        assert self._store is not None
        names = [self._shelf.name(row) for row in range(self._shelf.count)]
        with self._told("cannot remove passages"):
            for first in range(0, len(names), _BATCH):
                self._store.delete(ids=names[first : first + _BATCH])

    def candidates(self, asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The nearest rows of each vector ``[q, d]``, -1 where there are no more.

        Raises:
            RunError: The class cannot search by vector, or has lost the passages.
        """
        import numpy as np

        found = [self._nearest(vector.tolist(), min(k, self._shelf.count)) for vector in asked]
        rows = np.full((len(asked), max(map(len, found))), -1, np.int64)
        for at, one in enumerate(found):
            rows[at, : len(one)] = one
        return rows

    def _nearest(self, vector: list[float], k: int) -> list[int]:
        """Rows of this build among the nearest documents; there may be others, so more are asked for if need be."""
        assert self._store is not None
        depth = k + _MORE
        while True:
            with self._told("cannot search by vector"):
                documents = self._store.similarity_search_by_vector(vector, k=depth)
            rows = list(dict.fromkeys(row for one in documents if (row := self._shelf.row(one)) is not None))
            if len(rows) >= k or len(documents) < depth or depth >= _MOST:
                break
            depth = min(2 * depth, _MOST)
        if not rows:
            hint = f"if it keeps them in memory only, say persistent: false; else {REBUILD_ALL}"
            raise RunError(f"{self.name} has none of the passages of the index", hint=hint, component=_WHERE)
        return rows

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except RagDecodeError:
            raise
        except ImportError as error:
            raise InputError(f"{self.name} needs a package that is not installed: {error}", component=_WHERE) from error
        except Exception as error:  # a package can fail in any way
            text = " ".join(str(error).split())[:300]
            raise RunError(f"{self.name} {what}: {type(error).__name__}: {text}", component=_WHERE) from error
