from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragdecode.documents.inventory import scan
from ragdecode.documents.reader import readers_by_suffix
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.estimate import Estimate, duration, estimate
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.files import read_listing
from ragdecode.spec.model import ModelSpec
from tests.indexing.doubles import ENCODER, HashedWords, build, index_spec, put

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "docs_corpus"
OLD = 1_700_000_000


class Timed(HashedWords):
    """An encoder whose batches take no time but that counts them."""

    def __init__(self) -> None:
        super().__init__(dimension=384)
        self.batches: list[int] = []

    def encode(self, texts: Sequence[str], *, role: str = "document") -> Any:
        self.batches.append(len(texts))
        return np.ones((len(texts), self.dimension), np.float32)


def expected(spec: Any, target: Path, encoder: HashedWords | None = None, *, old: bool = True) -> Estimate:
    def encoders(model: ModelSpec) -> HashedWords:
        return encoder or HashedWords()

    earlier = manifests.read(target) if old else None
    known = FileTable(read_listing(target, earlier) if earlier else ())
    return estimate(spec, scan(spec.corpus), earlier, known, target, encoders)


def age(root: Path) -> None:
    """Files so old that their times are believed."""
    for path in root.rglob("*"):
        os.utime(path, (OLD, OLD))


def test_a_small_corpus_is_told_without_timing_anything(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    encoder = Timed()
    told = expected(index_spec(tmp_path / "docs"), tmp_path / "index", encoder)
    sizes = [path.stat().st_size for path in (tmp_path / "docs").rglob("*") if path.is_file()]
    assert (told.files, told.bytes, told.new_files, told.new_bytes) == (4, sum(sizes), 4, sum(sizes))
    assert (told.passages, told.encoded) == (4, 4)
    assert (told.encode_seconds, encoder.batches) == (None, [])
    assert 4 * 384 * 4 < told.disk < told.room
    assert told.free is not None
    assert told.free > 0


def test_only_what_has_changed_counts_as_work(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    age(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs")
    build(spec, tmp_path / "index")
    whole = expected(spec, tmp_path / "index", old=False)
    same = expected(spec, tmp_path / "index")
    assert (same.files, same.passages) == (whole.files, whole.passages)
    assert (same.new_files, same.new_bytes, same.new_passages, same.encoded) == (0, 0, 0, 0)
    (tmp_path / "docs" / "sky.txt").write_text("The sky is grey today, and it rains.\n")
    (tmp_path / "docs" / "new.txt").write_text("New.\n")
    changed = expected(spec, tmp_path / "index")
    assert (changed.files, changed.new_files, changed.new_bytes, changed.encoded) == (5, 2, 42, 2)
    assert changed.disk > same.disk
    other = index_spec(tmp_path / "docs", stores=["bm25", {"faiss": {"encoder": {**ENCODER, "description": "other"}}}])
    assert expected(other, tmp_path / "index").encoded == 5  # another encoder: nothing can be taken over


def test_many_texts_are_timed_with_real_batches(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "book.txt").write_text("word " * 300_000)
    encoder = Timed()
    told = expected(index_spec(tmp_path / "docs"), tmp_path / "index", encoder)
    assert told.encoded == told.passages > 2000
    assert told.encode_seconds is not None
    assert told.encode_seconds > 0
    assert len(encoder.batches) == 2  # one to load the weights, one to be timed
    assert told.disk >= 1_500_000 + told.passages * 384 * 4
    without = expected(index_spec(tmp_path / "docs", stores=["bm25"]), tmp_path / "index", encoder)
    assert (without.encoded, without.encode_seconds, len(encoder.batches)) == (0, None, 2)


def test_a_full_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs")
    assert expected(spec, tmp_path / "deep" / "below" / "index").fits
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 100})())
    told = expected(spec, tmp_path / "index")
    assert (told.free, told.fits) == (100, False)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="needs the shared documents")
def test_the_guess_is_near_the_truth_on_real_documents(tmp_path: Path) -> None:
    spec = index_spec(CORPUS / "rust-book", stores=["bm25"])
    told = expected(spec, tmp_path / "index")

    def pieces(text: str) -> list[tuple[int, int]]:
        """Tokens about as long as those of language models, in the place of words."""
        return [(round(at * 3.5), round((at + 1) * 3.5)) for at in range(int(len(text) / 3.5))]

    done = build(spec, tmp_path / "index", token_offsets=pieces)
    assert math.isclose(told.passages, done.passages, rel_tol=0.35)
    data = manifests.read(tmp_path / "index")
    assert data is not None
    assert math.isclose(told.disk, sum(entry.size for entry in data.data.values()), rel_tol=0.6)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="needs the shared documents")
@pytest.mark.parametrize(("suffix", "share"), [(".md", 0.99), (".html", 0.9)])
def test_text_in_a_byte_is_as_measured(suffix: str, share: float) -> None:
    reader = readers_by_suffix()[suffix]
    files = sorted(CORPUS.rglob(f"*{suffix}"))[:12]
    raw = sum(path.stat().st_size for path in files)
    assert math.isclose(sum(len(reader.read(path.read_bytes()).text) for path in files) / raw, share, abs_tol=0.1)


def test_what_people_are_told() -> None:
    small = Estimate(
        files=1,
        bytes=1200,
        new_files=1,
        new_bytes=1200,
        passages=1,
        new_passages=1,
        disk=900,
        room=1500,
        memory=2_500_000,
    )
    assert list(small.lines()) == [
        "1 file, 1.2 kB",
        "expected: about 1 passage, 900 bytes on disk, 1.5 kB while it is built, 2.5 MB of memory beside the models",
    ]
    assert not small.long
    large = replace(small, files=2_000_000, new_files=1_999_999, encoded=3_000_000, encode_seconds=7600.0, free=1400)
    assert list(large.lines()) == [
        "2,000,000 files, 1.2 kB; to read: 1,999,999 files, 1.2 kB",
        "expected: about 1 passage, 900 bytes on disk, 1.5 kB while it is built (1.4 kB free), 2.5 MB of memory beside "
        "the models",
        "expected: about 2 h 7 min to encode 3,000,000 texts",
        "warning: that is more than is free; a build that finds the disk full stops, and the old index stays",
    ]
    assert large.long
    assert [duration(seconds) for seconds in (0.4, 89, 90, 5340, 5400)] == [
        "0 s",
        "89 s",
        "2 min",
        "89 min",
        "1 h 30 min",
    ]
