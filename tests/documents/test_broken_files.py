from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.documents.broken import NO_FILES, READ, SKIPPED, write
from tests.indexing.doubles import build, index_spec, opened

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "docs_corpus"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write(root)
    return root


def test_every_file_has_exactly_one_outcome_and_none_is_fatal(corpus: Path, tmp_path: Path) -> None:
    spec = index_spec(corpus, stores=["bm25"])
    report = build(spec, tmp_path / "index")
    index = opened(tmp_path / "index")
    reasons = {one.source: one.reason for one in report.skipped}
    assert len(reasons) == len(report.skipped)
    expected = {name: reason for name, (_, reason) in SKIPPED.items()} | NO_FILES
    assert len(expected) >= 30
    for name, reason in expected.items():
        assert reason in reasons.get(name, "(not reported)"), name
    assert set(reasons) == set(expected)
    read = Counter(passage.source for passage in index.passages)
    assert set(read) == {*READ, "folder.md/inside.md"}
    assert report.files == len(read)
    # nothing is reported that says less than a person could act on
    assert all(len(reason) >= len("empty") and "\n" not in reason for reason in reasons.values())


def test_what_is_broken_in_files_that_are_read_is_reported_too(corpus: Path, tmp_path: Path) -> None:
    spec = index_spec(corpus, stores=["bm25"], corpus={"include": ["mixed.jsonl", "ragged.csv"]})
    report = build(spec, tmp_path / "index")
    told = [f"{flaw.source}: {flaw.reason}" for flaw in report.flaws]
    assert len(told) == 4
    for part in ("line 2", "line 3", "expected a JSON object, found an array", "1 fields, expected 2", "quote"):
        assert any(part in line for line in told), part
    again = build(spec, tmp_path / "index")
    assert again.flaws == report.flaws


def test_a_second_build_reports_the_same(corpus: Path, tmp_path: Path) -> None:
    spec = index_spec(corpus, stores=["bm25"], corpus={"exclude": ["line.txt", "bomb.docx", "dots.txt", "letters.txt"]})
    first = build(spec, tmp_path / "index")
    second = build(spec, tmp_path / "index")
    assert second.skipped == first.skipped
    assert (second.content, second.built) == (first.content, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "closed.md").write_bytes(b"closed")
    (tmp_path / "docs" / "open.md").write_bytes(b"open")
    (tmp_path / "docs" / "closed.md").chmod(0)
    report = build(index_spec(tmp_path / "docs", stores=["bm25"]), tmp_path / "index")
    assert [(one.source, one.reason) for one in report.skipped] == [("closed.md", "cannot be read: Permission denied")]


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared documents are not here")
def test_real_files_of_all_formats_are_all_accounted_for(tmp_path: Path) -> None:
    spec = index_spec(CORPUS, stores=["bm25"], corpus={"exclude": ["pdf/GeoTopo*", "manifest.jsonl"]})
    report = build(spec, tmp_path / "index")
    wanted = {path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file()}
    wanted -= {"pdf/GeoTopo-komprimiert.pdf", "manifest.jsonl"}
    index = opened(tmp_path / "index")
    read = {passage.source for passage in index.passages}
    assert report.skipped == ()
    assert read == wanted
    assert report.files == len(wanted) > 200
    for source in ("docx", "html", "md", "mdx", "pdf"):
        assert any(name.endswith(source) for name in read)


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared documents are not here")
def test_a_file_of_lines_that_are_no_documents_says_which_fields_it_has(tmp_path: Path) -> None:
    spec = index_spec(CORPUS, stores=["bm25"], corpus={"include": ["manifest.jsonl", "rust-book/appendix-00.md"]})
    (skipped,) = build(spec, tmp_path / "index").skipped
    assert skipped.source == "manifest.jsonl"
    assert "found the fields 'path', 'bytes', 'origin', 'licence'" in skipped.reason
