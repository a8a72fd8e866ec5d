from __future__ import annotations

from pathlib import Path

import pytest

from ragdecode.documents.document import Document
from ragdecode.documents.passage import Passage, passage_id
from ragdecode.documents.reader import readers_by_suffix
from ragdecode.documents.reading import load, parse, reader_of
from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import RunError


def found(path: Path) -> Found:
    return Found(path.name, path, 1, 0)


class Breaks:
    suffixes = (".x",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, data: bytes) -> Document:
        raise self.error


def test_a_file_that_breaks_its_parser_is_skipped_with_the_reason(tmp_path: Path) -> None:
    outcome = parse(found(tmp_path / "a.x"), b"data", Breaks(KeyError("/Root\nmore")))
    assert outcome == Skipped("a.x", "damaged: KeyError: '/Root\\nmore'")


def test_a_reader_that_cannot_be_imported_is_not_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="needs a library"):
        parse(found(tmp_path / "a.x"), b"data", Breaks(ImportError("no module")))


def test_a_truncated_pdf_is_skipped(tmp_path: Path) -> None:
    outcome = parse(found(tmp_path / "a.pdf"), b"%PDF-1.4\n1 0 obj\n<<", readers_by_suffix()[".pdf"])
    assert isinstance(outcome, Skipped)
    assert outcome.reason.startswith("damaged: ")


def test_white_space_only_is_no_text(tmp_path: Path) -> None:
    outcome = parse(found(tmp_path / "a.txt"), b" \n\t ", readers_by_suffix()[".txt"])
    assert outcome == Skipped("a.txt", "no text in it")


def test_a_kind_without_reader_is_named(tmp_path: Path) -> None:
    for name, shown in (("a.xyz", "files ending in '.xyz'"), ("README", "files without an extension")):
        outcome = reader_of(found(tmp_path / name), readers_by_suffix())
        assert isinstance(outcome, Skipped)
        assert f"no reader for {shown}" in outcome.reason


def test_suffixes_in_upper_case_are_known(tmp_path: Path) -> None:
    readers = readers_by_suffix()
    assert reader_of(found(tmp_path / "A.TXT"), readers) is readers[".txt"]


def test_loading_reports_what_it_cannot_read(tmp_path: Path) -> None:
    gone, grown, empty = tmp_path / "gone", tmp_path / "grown", tmp_path / "empty"
    grown.write_bytes(b"123456")
    empty.touch()
    assert load(found(gone), 5) == Skipped("gone", "cannot be read: No such file or directory")
    assert load(found(grown), 5) == Skipped("grown", "too large: it grew while it was read")
    assert load(found(empty), 5) == Skipped("empty", "empty")
    assert load(found(grown), 6) == b"123456"


def test_passages_survive_json_and_become_langchain_documents() -> None:
    passage = Passage(passage_id("a.md", 3, 'te"xt\n'), 'te"xt\n', "line\nend.md", 2, "A > B", 3, 9, 4)
    assert "\n" not in passage.to_json()
    assert Passage.from_json(passage.to_json()) == passage
    document = passage.to_document({"score": 0.5})
    assert (document.id, document.page_content) == (passage.id, passage.text)
    assert document.metadata == {
        "source": "line\nend.md",
        "page": 2,
        "heading": "A > B",
        "start": 3,
        "end": 9,
        "tokens": 4,
        "score": 0.5,
    }
    with pytest.raises(ValueError, match="not a passage"):
        Passage.from_json('{"id": "x"}')
