"""A collection of a Milvus: one field to search, and the row of the passage as its key."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragdecode.errors import RunError
from ragdecode.indexing.manifest import REBUILD_ALL
from ragdecode.indexing.milvus.server import Connection, MilvusAddress, connect

if TYPE_CHECKING:
    from ragdecode.indexing.store import BuildContext

T = TypeVar("T")

ROW, FIELD = "row", "vector"
#: rows sent at once
BATCH = 1000
#: queries sent at once
QUERIES = 64
#: most rows that Milvus gives for a query
MOST = 16_384


@contextmanager
def building(address: MilvusAddress, store: str, context: BuildContext) -> Iterator[Collection]:
    """A new collection under a name of its own, for the build in the block; gone again if the block fails.

    The collection of the index in place answers until the manifest is replaced. What builds that were killed have
    left behind is removed first.

    Raises:
        RunError: The server cannot be reached or refuses.
    """
    connection = connect(address)
    try:
        prefix = f"ragdecode_{context.identity}_{store}_x"
        standing = _name(context.standing) if context.standing else None
        with connection.told() as client:
            for name in client.list_collections(timeout=address.timeout):
                if name.startswith(prefix) and name != standing:
                    client.drop_collection(name)
        collection = Collection(connection, prefix + secrets.token_hex(6))
        try:
            yield collection
        except BaseException:
            collection.drop()
            raise
    finally:
        connection.close()


def opened(address: MilvusAddress, facts: Mapping[str, Any]) -> Collection:
    """The collection that a build has left, loaded for searching; its connection is closed when it is forgotten.

    Raises:
        RunError: The server cannot be reached, refuses, or has lost the collection.
    """
    connection = connect(address)
    name = _name(facts)
    try:
        with connection.told() as client:
            if not client.has_collection(name, timeout=address.timeout):
                raise RunError(f"the Milvus at {address.uri} has no collection {name!r}", hint=REBUILD_ALL)
            client.load_collection(name)
    except BaseException:
        connection.close()
        raise
    collection = Collection(connection, name)
    weakref.finalize(collection, connection.forget).atexit = False  # Milvus Lite ends itself then
    return collection


def gone(address: MilvusAddress, facts: Mapping[str, Any]) -> bool:
    """Whether a local file has been removed, or the collection in it, that a build has left.

    Looks at names alone, as the file may be held by another process; a server is not asked. Milvus Lite keeps a
    collection of its default database in a folder ``collections/NAME``.
    """
    if not address.embedded:
        return False
    file = Path(address.uri)
    if address.database or not (file / "collections").is_dir():
        return not file.exists()
    return not (file / "collections" / _name(facts)).exists()


def discard(address: MilvusAddress, facts: Mapping[str, Any]) -> None:
    """Remove the collection that a build has left, if it is still there.

    Raises:
        RunError: The server cannot be reached or refuses.
    """
    connection = connect(address)
    try:
        Collection(connection, _name(facts)).drop()
    finally:
        connection.close()


class Collection:
    """One collection.

    Attributes:
        connection: Where it is.
        name: Its name there.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    @property
    def facts(self) -> dict[str, str]:
        """Where it is to be found again; no part of the index's content."""
        return {"collection": self.name}

    def fill(
        self,
        rows: Iterable[Any],
        total: int,
        index: Mapping[str, Any],
        context: BuildContext,
        stage: str,
        dimension: int | None = None,
    ) -> None:
        """Create it, put all rows in, index them and load it.

        Args:
            rows: What is searched: vectors ``[dimension]``, or weights by number of the word; None for a row that
                has nothing.
            total: Number of rows, for telling progress.
            index: Arguments of the index: ``index_type``, ``metric_type``, ``params``.
            context: The build.
            stage: Name under which progress is told.
            dimension: Of dense vectors; None for weights of words.
        """
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ROW, DataType.INT64, is_primary=True)
        if dimension is None:
            schema.add_field(FIELD, DataType.SPARSE_FLOAT_VECTOR)
        else:
            schema.add_field(FIELD, DataType.FLOAT_VECTOR, dim=dimension)
        params = MilvusClient.prepare_index_params()
        params.add_index(FIELD, **index)
        sent = 0
        with self.connection.told() as client:
            client.create_collection(self.name, schema=schema)
            for batch in _batches(enumerate(rows), BATCH):
                entities = [{ROW: row, FIELD: value} for row, value in batch if value is not None]
                if entities:
                    client.insert(self.name, entities)
                    sent += len(entities)
                context.progress(stage, batch[-1][0] + 1, total)
            client.flush(self.name)
            client.create_index(self.name, params)
            client.load_collection(self.name)
            found = client.query(self.name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        if (there := int(found[0]["count(*)"])) != sent:
            raise RunError(f"the Milvus at {self.connection.address.uri} has {there} of {sent} rows after a build")

    def search(self, queries: Sequence[Any], k: int, params: Mapping[str, Any]) -> list[list[tuple[int, float]]]:
        """The best rows for each query, best first, as ``(row, score)``."""
        found: list[list[tuple[int, float]]] = []
        limit = min(k, MOST)
        timeout = self.connection.address.timeout
        with self.connection.told() as client:
            for batch in _batches(queries, QUERIES):
                answer = client.search(
                    self.name, data=batch, anns_field=FIELD, limit=limit, output_fields=[ROW],
                    search_params={"metric_type": "IP", "params": dict(params)}, timeout=timeout,
                )  # fmt: skip
                found.extend([(int(hit[ROW]), float(hit["distance"])) for hit in hits] for hits in answer)
        return found

    def drop(self) -> None:
        """Remove it, if it is there."""
        with self.connection.told() as client:
            client.drop_collection(self.name)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _name(facts: Mapping[str, Any]) -> str:
    return str(facts["elsewhere"]["collection"])
