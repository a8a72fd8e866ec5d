"""Stores in Milvus, over an embedded Milvus Lite file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_bm25

from ragdecode.indexing.index import Index
from ragdecode.indexing.store import Probe, Words
from ragdecode.spec.part import PartKind
from tests.indexing.doubles import ENCODER, TEXTS, HashedWords, build, index_spec, opened, put
from tests.indexing.milvus_files import collections, corpus, dense, released, words

__all__ = ["released"]


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


def test_a_corpus_without_words_has_no_hits(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"marks.txt": "... !!! ???\n"})
    build(index_spec(tmp_path / "docs", [words(tmp_path)]), tmp_path / "index")
    assert opened(tmp_path / "index").search("milvus_bm25", ["sea"], 3) == [[]]


@pytest.mark.parametrize("what", ["file", "collection"])
def test_a_build_sees_that_the_file_or_a_collection_is_gone(tmp_path: Path, what: str) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [dense(tmp_path), words(tmp_path)])
    content = build(spec, tmp_path / "index").content
    assert not build(spec, tmp_path / "index").built
    before = collections(tmp_path)
    lost = tmp_path / "m.db" if what == "file" else tmp_path / "m.db" / "collections" / before[1]
    assert lost.is_dir()
    shutil.rmtree(lost)
    encoder = HashedWords()
    report = build(spec, tmp_path / "index", encoder)
    assert (report.built, report.content, report.unchanged, encoder.encoded) == (True, content, len(TEXTS), [])
    after = collections(tmp_path)
    assert len(after) == 2
    assert not set(before) & set(after)
    index = opened(tmp_path / "index", spec)
    for store in index.stores:
        assert index.search(store, ["blue sea"], 1)[0][0].passage.source == "sea.html"
    del index
    assert not build(spec, tmp_path / "index").built


def test_a_server_is_not_asked_whether_its_collection_is_there() -> None:
    for name in ("milvus", "milvus_bm25"):
        encoder = {"encoder": ENCODER} if name == "milvus" else {}
        part = PartKind("store").validate({name: {"uri": "http://127.0.0.1:9", **encoder}})
        facts = {"encoder": "hashed-1", "elsewhere": {"collection": "ragdecode_x"}}
        assert part.build().current(facts, lambda model: HashedWords())
