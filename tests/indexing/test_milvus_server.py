"""Milvus files and servers: who may use them, and what is said when they cannot be used."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ragdecode.errors import RunError
from ragdecode.indexing.milvus import collection as milvus_collection
from ragdecode.indexing.stores.milvus import MilvusSettings
from ragdecode.indexing.stores.milvus_bm25 import MilvusBm25Settings
from ragdecode.spec.secret import Secret
from tests.indexing.doubles import ENCODER, build, index_spec, opened, put
from tests.indexing.milvus_files import collections, dense, pymilvus, released

grpc = pytest.importorskip("grpc", reason="needs the extra milvus")
__all__ = ["released"]


def test_a_collection_that_is_gone_is_told(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path)])
    build(spec, tmp_path / "index")
    (name,) = collections(tmp_path)
    index = opened(tmp_path / "index")
    index.search("milvus", ["sea"], 1)
    client = pymilvus.MilvusClient(str(tmp_path / "m.db"))
    client.drop_collection(name)
    client.close()
    with pytest.raises(RunError, match="gone") as caught:
        index.search("milvus", ["sea"], 1)
    assert "--force" in str(caught.value.hint)
    del index, caught
    with pytest.raises(RunError, match=f"has no collection {name!r}"):
        opened(tmp_path / "index").search("milvus", ["sea"], 1)
    build(spec, tmp_path / "index", force=True)
    assert opened(tmp_path / "index").search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"


HOLDING = """
import sys, pymilvus
client = pymilvus.MilvusClient(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_of_another_process_is_told(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "m.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="held by another process"):
            build(index_spec(tmp_path / "docs", [dense(tmp_path)]), tmp_path / "index")
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait()
    assert build(index_spec(tmp_path / "docs", [dense(tmp_path)]), tmp_path / "index").built


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    store = {"milvus": {"uri": "http://127.0.0.1:1", "encoder": ENCODER, "timeout": 1}}
    with pytest.raises(RunError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        build(index_spec(tmp_path / "docs", [store]), tmp_path / "index")
    assert not (tmp_path / "index" / "manifest.json").exists()


def test_a_token_is_never_written_and_comes_from_the_spec_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = []
    opening = milvus_collection.connect
    monkeypatch.setattr(
        milvus_collection, "connect", lambda to: tokens.append(to.token.get_secret_value()) or opening(to)
    )
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path, token=Secret("root:s3cret", "${ENV:RAGDECODE_TEST_TOKEN}"))])
    build(spec, tmp_path / "index")
    opened(tmp_path / "index", spec).search("milvus", ["sea"], 1)
    files = [path for path in (tmp_path / "index").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
    monkeypatch.setenv("RAGDECODE_TEST_TOKEN", "root:n3w")
    opened(tmp_path / "index").search("milvus", ["sea"], 1)
    assert tokens == ["root:s3cret", "root:s3cret", "root:n3w"]


def test_a_server_is_used_like_a_file_and_by_several_at_once(tmp_path: Path) -> None:
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    put(tmp_path / "docs")
    server, database, port = start_server_in_thread(str(tmp_path / "served"))
    try:
        uri = f"http://127.0.0.1:{port}"
        spec = index_spec(
            tmp_path / "docs", [{"milvus": {"uri": uri, "encoder": ENCODER}}, {"milvus_bm25": {"uri": uri}}]
        )
        build(spec, tmp_path / "index")
        first, second = opened(tmp_path / "index"), opened(tmp_path / "index")
        put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})
        for index in (first, second):
            assert index.search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"
        build(spec, tmp_path / "index")
        assert len(database.list_collections()) == 2
        with pytest.raises(RunError, match=f"is gone from the Milvus server {uri}"):
            first.search("milvus", ["boats sail"], 1)
        assert opened(tmp_path / "index").search("milvus_bm25", ["boats sail"], 1)[0][0].passage.source == "new.txt"
    finally:
        server.stop(grace=0).wait()
        database.close()


def test_an_index_that_is_forgotten_in_a_thread_of_the_server_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from milvus_lite.adapter.grpc.servicer import MilvusServicer

    put(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", [dense(tmp_path, timeout=5)]), tmp_path / "index")
    gc.collect()
    gc.disable()
    try:
        forgotten: list[Any] = [opened(tmp_path / "index")]
        forgotten[0].search("milvus", ["sea"], 1)
        forgotten.append(forgotten)  # a cycle, which only the collector frees
        del forgotten
        lists = MilvusServicer.ShowCollections
        monkeypatch.setattr(MilvusServicer, "ShowCollections", lambda *call: (gc.collect(), lists(*call))[1])
        assert opened(tmp_path / "index").search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"
    finally:
        gc.enable()


class Refusing(grpc.GenericRpcHandler):
    """Answers every call as a server does that wants a token."""

    def service(self, details: Any) -> Any:
        def refuse(request: bytes, context: Any) -> bytes:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check username and password")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_a_token_that_is_refused_is_told(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    store = {"uri": f"http://127.0.0.1:{port}", "timeout": 5, "token": Secret("root:s3cret", "${ENV:MILVUS_TOKEN}")}
    try:
        with pytest.raises(RunError, match="refuses: .*auth check failure") as caught:
            build(index_spec(tmp_path / "docs", [{"milvus_bm25": store}]), tmp_path / "index")
    finally:
        server.stop(grace=0).wait()
    assert caught.value.hint == "check ${ENV:MILVUS_TOKEN}, the token"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data/milvus", "a file whose name ends in .db"),
        ("ftp://host", "its scheme is one of http"),
        ("http://", "expected an address"),
        ("http://root:Milvus@host:19530", "as token"),
    ],
)
def test_wrong_addresses_are_refused(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MilvusBm25Settings(uri=uri)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="of kind causal"):
        MilvusSettings(uri="x.db", encoder={**ENCODER, "kind": "causal"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="delta has no place in variant lucene"):
        MilvusBm25Settings(uri="x.db", variant="lucene", delta=0.5)
    with pytest.raises(ValueError, match="stemmer"):
        MilvusBm25Settings(uri="x.db", stemmer="klingon")
