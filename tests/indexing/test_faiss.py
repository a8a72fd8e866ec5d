from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from ragdecode.errors import InputError, RunError
from tests.indexing.doubles import ENCODER, HashedWords, build, index_spec, opened, put

FAISS = [{"faiss": {"encoder": ENCODER}}]


def corpus(root: Path, count: int) -> None:
    random = np.random.default_rng(0)
    vocabulary = [f"word{number}" for number in range(300)]
    put(root, {f"{number:04d}.txt": " ".join(random.choice(vocabulary, 20)) for number in range(count)})


def test_search_equals_exact_search_with_numpy(tmp_path: Path) -> None:
    corpus(tmp_path / "docs", 300)
    spec = index_spec(tmp_path / "docs", FAISS)
    build(spec, tmp_path / "index")
    index = opened(tmp_path / "index", spec)
    encoder = HashedWords()
    queries = [f"word{number} word{number + 7} word{number * 2}" for number in range(40)]
    texts = [passage.text for passage in index.passages]
    ids = [passage.id for passage in index.passages]
    stored, asked = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for vectors in (encoder.encode(texts).astype(np.float64), encoder.encode(queries).astype(np.float64))
    )
    cosine = asked @ stored.T
    for query, hits in zip(cosine, index.search("faiss", queries, 10), strict=True):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(query)[::-1][:10].tolist(), abs=1e-6)
        assert [query[ids.index(hit.passage.id)] for hit in hits] == pytest.approx(
            [hit.score for hit in hits], abs=1e-6
        )


def test_a_query_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    corpus(tmp_path / "docs", 60)
    spec = index_spec(tmp_path / "docs", FAISS)
    build(spec, tmp_path / "index")
    index = opened(tmp_path / "index")
    queries = [f"word{number} word{number + 1}" for number in range(50)]
    assert index.search("faiss", queries, 5) == [index.search("faiss", [query], 5)[0] for query in queries]


def test_equal_scores_are_ordered_by_id_and_cut_the_same_way(tmp_path: Path) -> None:
    put(tmp_path / "docs", {f"{number}.txt": "the same words" for number in range(9)} | {"z.txt": "other"})
    build(index_spec(tmp_path / "docs", FAISS), tmp_path / "index")
    index = opened(tmp_path / "index")
    same = sorted(passage.id for passage in index.passages if passage.source != "z.txt")
    for k in (1, 4, 9):
        assert [hit.passage.id for hit in index.search("faiss", ["same words"], k)[0]] == same[:k]
    assert len(index.search("faiss", ["same words"], 50)[0]) == 10
    assert index.search("faiss", [], 5) == []


def test_equal_texts_are_embedded_once(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"a.txt": "twice", "b.txt": "once", "c.txt": "twice"})
    encoder = HashedWords()
    build(index_spec(tmp_path / "docs", FAISS), tmp_path / "index", encoder)
    assert sorted(encoder.encoded) == ["once", "twice"]
    index = opened(tmp_path / "index")
    assert {hit.passage.source for hit in index.search("faiss", ["twice"], 2)[0]} == {"a.txt", "c.txt"}


def test_another_encoder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", FAISS)
    build(spec, tmp_path / "index")
    other = HashedWords(fingerprint="hashed-2")
    with pytest.raises(InputError, match=r"another encoder(.|\n)*ragdecode index build"):
        opened(tmp_path / "index", spec, other).search("faiss", ["sky"], 1)
    report = build(spec, tmp_path / "index", other)
    assert report.built
    assert len(other.encoded) == report.passages
    assert opened(tmp_path / "index", spec, other).search("faiss", ["sky"], 1)[0]


def test_vectors_that_are_not_numbers_end_the_build(tmp_path: Path) -> None:
    class Broken(HashedWords):
        def encode(self, texts, *, role="document"):
            return super().encode(texts) * np.float32("nan")

    put(tmp_path / "docs")
    with pytest.raises(RunError, match="not finite"):
        build(index_spec(tmp_path / "docs", FAISS), tmp_path / "index", Broken())
    assert not list((tmp_path / "index").glob("*data*"))


def test_an_index_opened_without_encoders_says_so(tmp_path: Path) -> None:
    from ragdecode.indexing.index import open_index

    put(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", FAISS), tmp_path / "index")
    with pytest.raises(RunError, match="opened without encoders"):
        open_index(tmp_path / "index").search("faiss", ["sky"], 1)


def test_the_blocks_of_new_arrays_are_on_disk_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a write to a memory map whose blocks cannot be had is not an exception but the end of the process
    corpus(tmp_path / "docs", 3)
    spec = index_spec(tmp_path / "docs", FAISS)
    reserved: list[int] = []

    def full(descriptor: int, start: int, size: int) -> None:
        reserved.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match="the disk is full"):
        build(spec, tmp_path / "index")
    assert len(reserved) == 1
    assert reserved[0] > 3 * 16
    kept = sorted(path.name for path in (tmp_path / "index").iterdir())
    assert kept == [".building", ".lock"], "what the next build goes on with, and no index"


def test_arrays_are_the_same_where_blocks_cannot_be_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(tmp_path / "docs", 5)
    spec = index_spec(tmp_path / "docs", FAISS)
    build(spec, tmp_path / "one")
    monkeypatch.delattr(os, "posix_fallocate")
    build(spec, tmp_path / "two")
    one, two = (next((tmp_path / name).rglob("vectors.npy")).read_bytes() for name in ("one", "two"))
    assert one == two
