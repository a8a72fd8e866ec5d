"""Stores in Milvus, over an embedded Milvus Lite file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_bm25

from ragdecode.errors import RunError
from ragdecode.indexing import milvus_collection
from ragdecode.indexing.index import Index
from ragdecode.indexing.store import Probe, Words
from ragdecode.indexing.stores.milvus import MilvusSettings
from ragdecode.indexing.stores.milvus_bm25 import MilvusBm25Settings
from ragdecode.spec.secret import Secret
from tests.indexing.doubles import ENCODER, HashedWords, build, index_spec, opened, put

pymilvus = pytest.importorskip("pymilvus", reason="needs the extra milvus")
pytest.importorskip("milvus_lite", reason="needs the extra milvus")

WORDS = re.findall(r"\w+", "apple pear plum sea sky cloud rain tree red green blue salt wind stone river moon star")


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """What a test has opened is closed when it forgets it; a file that is still held is a failure of the test."""
    yield
    from milvus_lite.server_manager import server_manager_instance

    held = list(server_manager_instance._servers)
    server_manager_instance.release_all()
    assert not held


def corpus(folder: Path, count: int = 60) -> list[str]:
    """Files of random words, repeated by Zipf's law."""
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, len(WORDS) + 1)
    texts = [
        " ".join(random.choice(WORDS, size=random.integers(3, 15), p=chances / chances.sum())) + "\n"
        for _ in range(count)
    ]
    put(folder, {f"{number:03}.txt": text for number, text in enumerate(texts)})
    return texts


def dense(folder: Path, **settings: Any) -> dict[str, Any]:
    return {"milvus": {"uri": str(folder / "m.db"), "encoder": ENCODER, **settings}}


def words(folder: Path, **settings: Any) -> dict[str, Any]:
    return {"milvus_bm25": {"uri": str(folder / "m.db"), **settings}}


def collections(folder: Path) -> list[str]:
    client = pymilvus.MilvusClient(str(folder / "m.db"))
    try:
        return sorted(client.list_collections())
    finally:
        client.close()
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(str(folder / "m.db"))


def rows(index: Index, store: str, query: str | Probe, k: int) -> list[tuple[int, float]]:
    return [(hit.row, hit.score) for hit in index.search(store, [query], k)[0]]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_flat", "auto"])
def test_vectors_are_ranked_by_their_cosine(tmp_path: Path, kind: str) -> None:
    corpus(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", [dense(tmp_path, kind=kind)]), tmp_path / "index")
    index = opened(tmp_path / "index")
    queries = ["red apple tree", "salt sea wind", "moon"]
    encoder = HashedWords()
    vectors = encoder.encode([passage.text for passage in index.passages])
    cosines = encoder.encode(queries, role="query") @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    cosines /= np.linalg.norm(encoder.encode(queries), axis=1, keepdims=True)
    for query, expected, hits in zip(queries, cosines, index.search("milvus", queries, 5), strict=True):
        scores = [hit.score for hit in hits]
        assert scores == pytest.approx([expected[hit.row] for hit in hits], abs=1e-5), query
        if kind == "flat":  # the others may miss a neighbour
            assert scores == pytest.approx(np.sort(expected)[::-1][:5], abs=1e-5)


def test_vectors_give_the_answers_of_the_faiss_store(tmp_path: Path) -> None:
    corpus(tmp_path / "docs")
    spec = index_spec(
        tmp_path / "docs", [{"faiss": {"encoder": ENCODER, "kind": "flat"}}, dense(tmp_path, kind="flat")]
    )
    build(spec, tmp_path / "index")
    index = opened(tmp_path / "index", spec)
    for query in ("red apple tree", Probe("salt sea", likenesses=("the wind over the river", "boat"))):
        assert rows(index, "milvus", query, 7) == rows(index, "faiss", query, 7)


@pytest.mark.parametrize(
    ("variant", "settings"),
    [("bm25+", {"delta": 0.7, "k1": 1.2, "stop_words": "english"}), ("lucene", {"stemmer": "english"})],
)
def test_words_give_the_answers_of_the_bm25_store(tmp_path: Path, variant: str, settings: dict[str, Any]) -> None:
    corpus(tmp_path / "docs")
    both = [{"bm25": {"variant": variant, **settings}}, words(tmp_path, variant=variant, **settings)]
    build(index_spec(tmp_path / "docs", both), tmp_path / "index")
    index = opened(tmp_path / "index")
    for query in ("red apple tree", "moon moon star", "salt", "nothing of that"):
        expected, found = rows(index, "bm25", query, 8), rows(index, "milvus_bm25", query, 8)
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5)
        assert dict(found).keys() - dict(expected).keys() <= {
            row for row, score in found if score <= found[-1][1] + 1e-4
        }


def test_words_follow_the_formula_of_rank_bm25(tmp_path: Path) -> None:
    texts = corpus(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", [words(tmp_path)]), tmp_path / "index")
    reference = rank_bm25.BM25Plus([text.split() for text in texts], k1=1.5, b=0.75, delta=1)
    expected = reference.get_scores(["green", "moon", "moon"])
    found = rows(opened(tmp_path / "index"), "milvus_bm25", "green moon moon", 5)
    assert [score for _, score in found] == pytest.approx(np.sort(expected)[::-1][:5], rel=1e-5)
    assert all(score == pytest.approx(expected[row], rel=1e-5) for row, score in found)


def test_words_can_be_weighed(tmp_path: Path) -> None:
    texts = corpus(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", [words(tmp_path, variant="lucene")]), tmp_path / "index")
    index = opened(tmp_path / "index")
    searcher = index.searcher("milvus_bm25")
    assert isinstance(searcher, Words)
    assert searcher.words("The Moon, the star") == ["the", "moon", "the", "star"]
    rare, common, unknown = searcher.idf(["star", "apple", "zebra"])
    assert rare > common > 0 == unknown
    (moon, star) = (dict(rows(index, "milvus_bm25", word, 60)) for word in ("moon", "star"))
    weighed = dict(rows(index, "milvus_bm25", Probe("apple", words={"moon": 2.0, "star": 0.5, "sky": 0.0}), 60))
    assert weighed.keys() == {row for row, text in enumerate(texts) if {"moon", "star"} & Counter(text.split()).keys()}
    for row, score in weighed.items():
        assert score == pytest.approx(2 * moon.get(row, 0) + 0.5 * star.get(row, 0), rel=1e-5)


def test_a_new_build_embeds_only_what_is_new_and_replaces_the_collections(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path), words(tmp_path)])
    build(spec, tmp_path / "index")
    before = collections(tmp_path)
    assert len(before) == 2
    put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})
    encoder = HashedWords()
    assert build(spec, tmp_path / "index", encoder).added == 1
    assert encoder.encoded == ["Boats sail over the blue sea."]
    after = collections(tmp_path)
    assert len(after) == 2
    assert not set(before) & set(after)
    index = opened(tmp_path / "index", spec)
    for store in index.stores:
        assert index.search(store, ["boats sail"], 1)[0][0].passage.source == "new.txt"
    assert not build(spec, tmp_path / "index").built
    del index
    assert collections(tmp_path) == after


def test_the_old_index_answers_until_the_new_one_is_whole(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path), words(tmp_path)])
    build(spec, tmp_path / "index")
    before = collections(tmp_path)
    put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "milvus_bm25":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(spec, tmp_path / "index", progress=progress)
    assert set(before) <= set(collections(tmp_path))
    index = opened(tmp_path / "index")
    assert index.search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"
    assert index.search("milvus_bm25", ["blue sea"], 1)[0][0].passage.source == "sea.html"
    del index
    assert build(spec, tmp_path / "index").added == 1
    assert len(collections(tmp_path)) == 2


KILLED = """
import os, sys
from pathlib import Path
from tests.indexing.doubles import *
def progress(stage, done, total):
    if stage == "milvus":
        os.kill(os.getpid(), 9)
folder = Path(sys.argv[1])
spec = index_spec(folder / "docs", [{"milvus": {"uri": str(folder / "m.db"), "encoder": ENCODER}}])
build(spec, folder / "index", progress=progress)
"""


def test_what_a_killed_build_has_left_is_removed(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path)])
    build(spec, tmp_path / "index")
    (standing,) = collections(tmp_path)
    put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    left = collections(tmp_path)
    assert len(left) == 2
    assert standing in left
    assert opened(tmp_path / "index").search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"
    build(spec, tmp_path / "index")
    (now,) = collections(tmp_path)
    assert now not in left


def test_other_indexes_in_the_same_milvus_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path)])
    build(spec, tmp_path / "one")
    build(spec, tmp_path / "two")
    build(spec, tmp_path / "two", force=True)
    assert len(collections(tmp_path)) == 2
    for name in ("one", "two"):
        assert opened(tmp_path / name).search("milvus", ["blue sea"], 1)[0][0].passage.source == "sea.html"


def test_the_content_of_an_index_is_the_same_wherever_its_collections_are(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path), words(tmp_path)])
    assert build(spec, tmp_path / "one").content == build(spec, tmp_path / "two").content


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


def test_a_corpus_without_words_has_no_hits(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"marks.txt": "... !!! ???\n"})
    build(index_spec(tmp_path / "docs", [words(tmp_path)]), tmp_path / "index")
    assert opened(tmp_path / "index").search("milvus_bm25", ["sea"], 3) == [[]]


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
