from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from ragdecode.documents.readers.text import TextReader
from ragdecode.errors import InputError, RunError
from ragdecode.indexing import build as building
from ragdecode.indexing.building import pool
from tests.indexing.doubles import TEXTS, HashedWords, answers, build, index_spec, opened, put


def age(root: Path) -> None:
    """Make the files old enough for their times to be trusted."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(10**18, 10**18 + len(path.name)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path / "docs")
    age(tmp_path / "docs")
    return tmp_path / "docs"


def test_a_build_says_what_it_did_and_answers(root: Path, tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    spec = index_spec(root)
    report = build(spec, tmp_path / "index", progress=lambda *stage: stages.append(stage))
    assert str(report) == "added 4 files, changed 0, removed 0, 4 passages"
    assert report.fresh
    assert [stage.name for stage in report.stages] == ["read", "store bm25", "store faiss", "write"]
    assert {stage for stage, done, total in stages if done == total} == {"read", "bm25", "faiss"}
    index = opened(tmp_path / "index", spec)
    assert index.search("bm25", ["a pear tree"], 1)[0][0].passage.heading == "Pears"
    assert index.search("faiss", ["clouds and rain in the sky"], 1)[0][0].passage.source == "sky.txt"
    assert index.verify() == []
    assert [path.name for path in (tmp_path / "index").iterdir() if path.name != ".lock"] != []
    assert not list((tmp_path / "index").glob(".building*"))


def test_nothing_changed_nothing_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    before = (tmp_path / "index" / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(building, "Collector", None)  # would fail if a file were looked into
    report = build(spec, tmp_path / "index")
    assert not report.built
    assert str(report) == "up to date: 4 files, 4 passages"
    assert (tmp_path / "index" / "manifest.json").stat().st_mtime_ns == before


def test_only_what_changed_is_read_and_embedded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    put(root, {"new.txt": "A new text about foxes.", "sky.txt": "The sky is black at night."})
    (root / "fruit" / "pear.md").unlink()
    (root / "broken.txt").write_bytes(b"\xff\xfe\xfd\xfc\xfb")
    read: list[bytes] = []
    original = TextReader.read
    monkeypatch.setattr(TextReader, "read", lambda self, data: read.append(data) or original(self, data))
    encoder = HashedWords()
    report = build(spec, tmp_path / "index", encoder)
    assert str(report) == "added 1 file, changed 1, removed 1, 4 passages, skipped 1 file"
    assert [(item.source, "utf-16" in item.reason) for item in report.skipped] == [("broken.txt", True)]
    assert sorted(encoder.encoded) == ["A new text about foxes.", "The sky is black at night."]
    assert len(read) == 3, "the new, the changed and the broken file"
    assert not report.fresh


def test_an_incremental_build_equals_a_fresh_one(root: Path, tmp_path: Path) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "grown")
    put(root, {"new.txt": "A new text.", "sky.txt": "Another sky."})
    (root / "sea.html").unlink()
    grown = build(spec, tmp_path / "grown")
    fresh = build(spec, tmp_path / "fresh")
    assert grown.content == fresh.content
    one, other = opened(tmp_path / "grown"), opened(tmp_path / "fresh")
    assert one.manifest.data == other.manifest.data
    assert answers(one) == answers(other)


def test_the_content_hash_does_not_depend_on_where_the_corpus_lies(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "copy")
    one = build(index_spec(root), tmp_path / "one")
    other = build(index_spec(tmp_path / "copy"), tmp_path / "other")
    assert one.content == other.content
    put(tmp_path / "copy", {"more.txt": "more"})
    assert build(index_spec(tmp_path / "copy"), tmp_path / "other").content != one.content


def test_touched_files_are_hashed_but_not_built_again(root: Path, tmp_path: Path) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    for path in root.rglob("*.txt"):
        os.utime(path, ns=(10**18 + 5, 10**18 + 5))
    report = build(spec, tmp_path / "index")
    assert (report.built, report.unchanged) == (False, 4)
    entries = {entry.source: entry.mtime_ns for entry in opened(tmp_path / "index").files()}
    assert entries["sky.txt"] == 10**18 + 5


def test_a_file_changed_right_after_a_build_is_noticed_by_content(root: Path, tmp_path: Path) -> None:
    put(root, {"young.txt": "one text"})
    status = (root / "young.txt").stat()
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    put(root, {"young.txt": "two text"})
    os.utime(root / "young.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build(spec, tmp_path / "index").changed == 1


def test_force_takes_nothing_over(root: Path, tmp_path: Path) -> None:
    spec = index_spec(root)
    first = build(spec, tmp_path / "index")
    encoder = HashedWords()
    report = build(spec, tmp_path / "index", encoder, force=True)
    assert report.fresh
    assert len(encoder.encoded) == report.passages
    assert report.content == first.content


def test_a_change_of_splitting_or_tokenizer_builds_anew_and_says_why(root: Path, tmp_path: Path) -> None:
    build(index_spec(root), tmp_path / "index")
    other = build(index_spec(root, split={"tokens": 32, "overlap": 0}), tmp_path / "index")
    assert (other.fresh, other.reason) == (True, "passages are split otherwise")
    tokenizer = build(
        index_spec(root, split={"tokens": 32, "overlap": 0}), tmp_path / "index", tokenizer_fingerprint="words-2"
    )
    assert (tokenizer.fresh, tokenizer.reason) == (True, "the tokenizer is another one")


def test_a_store_added_later_is_built_from_the_passages_at_hand(root: Path, tmp_path: Path) -> None:
    build(index_spec(root, ["bm25"]), tmp_path / "index")
    report = build(index_spec(root), tmp_path / "index")
    assert (report.built, report.fresh, report.unchanged) == (True, False, 4)
    assert opened(tmp_path / "index").stores == ("bm25", "faiss")


def test_broken_files_are_not_read_again_until_they_change(root: Path, tmp_path: Path) -> None:
    (root / "broken.md").write_bytes(b"%PDF-1.7")
    age(root)
    spec = index_spec(root)
    assert len(build(spec, tmp_path / "index").skipped) == 1
    report = build(spec, tmp_path / "index")
    assert str(report) == "up to date: 4 files, 4 passages, skipped 1 file"
    put(root, {"broken.md": "# Repaired"})
    assert build(spec, tmp_path / "index").added == 1


def test_a_damaged_old_index_is_replaced_and_the_reason_told(root: Path, tmp_path: Path) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    (file,) = (tmp_path / "index").glob("data-*/passages.jsonl")
    file.write_bytes(file.read_bytes()[:-5])
    report = build(spec, tmp_path / "index")
    assert "passages.jsonl" in report.reason
    assert opened(tmp_path / "index", spec).verify() == []
    (tmp_path / "index" / "manifest.json").write_text("{}")
    assert "format None" in build(spec, tmp_path / "index").reason


@pytest.mark.parametrize(
    ("texts", "shown"),
    [({}, "no file in"), ({"a.py": "x"}, r"\*\*/\*\.md"), ({"a.md": "  "}, r"no readable file.*(\n.*)*no text in it")],
)
def test_an_empty_corpus_names_folder_patterns_and_reasons(tmp_path: Path, texts: dict[str, str], shown: str) -> None:
    (tmp_path / "docs").mkdir()
    put(tmp_path / "docs", texts)
    with pytest.raises(InputError, match=shown) as caught:
        build(index_spec(tmp_path / "docs"), tmp_path / "index")
    assert str(tmp_path / "docs") in str(caught.value)
    assert caught.value.exit_code == 2
    assert [path.name for path in (tmp_path / "index").iterdir()] == [".lock"]


def test_a_corpus_that_became_empty_leaves_the_old_index(root: Path, tmp_path: Path) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    for name in TEXTS:
        (root / name).unlink()
    with pytest.raises(InputError, match="empty"):
        build(spec, tmp_path / "index")
    assert len(answers(opened(tmp_path / "index", spec))) > 0


def test_a_store_twice_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different stores, found bm25, bm25"):
        build(index_spec(root, ["bm25", {"bm25": {"k1": 2.0}}]), tmp_path / "index")


def test_a_full_disk_is_told_and_leaves_the_old_index(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    before = answers(opened(tmp_path / "index"))
    put(root, {"more.txt": "more text"})

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pool, "append", full)
    with pytest.raises(RunError, match="the disk is full") as caught:
        build(spec, tmp_path / "index")
    assert "old index" in (caught.value.hint or "")
    assert answers(opened(tmp_path / "index")) == before
    monkeypatch.undo()
    build(spec, tmp_path / "index")
    names = sorted(path.name for path in (tmp_path / "index").iterdir())
    assert names == [".lock", "data-2", "files-2.jsonl", "manifest.json"]


def test_ctrl_c_leaves_the_old_index(root: Path, tmp_path: Path) -> None:
    class Interrupted(HashedWords):
        def encode(self, texts, *, role="document"):
            raise KeyboardInterrupt

    spec = index_spec(root)
    build(spec, tmp_path / "index")
    before = answers(opened(tmp_path / "index"))
    put(root, {"more.txt": "more text"})
    with pytest.raises(KeyboardInterrupt):
        build(spec, tmp_path / "index", Interrupted())
    assert answers(opened(tmp_path / "index")) == before
    assert build(spec, tmp_path / "index").resumed == 1, "the new file was read before the interruption"
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        ".lock",
        "data-2",
        "files-2.jsonl",
        "manifest.json",
    ]


def test_a_second_builder_waits_or_gives_up_with_a_message(root: Path, tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(HashedWords):
        def encode(self, texts, *, role="document"):
            entered.set()
            leave.wait(30)
            return super().encode(texts)

    spec = index_spec(root)
    first = threading.Thread(target=build, args=(spec, tmp_path / "index", Slow()))
    first.start()
    assert entered.wait(30)
    with pytest.raises(RunError, match="another process is still building"):
        build(spec, tmp_path / "index", wait=0.05)
    leave.set()
    report = build(spec, tmp_path / "index", wait=30)
    first.join()
    assert not report.built


def test_a_folder_that_cannot_be_written_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        build(index_spec(root), tmp_path / "file" / "index")


def test_files_are_not_trusted_before_they_are_two_seconds_old(root: Path, tmp_path: Path) -> None:
    put(root, {"young.txt": "young"})
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    times = {entry.source: entry.mtime_ns for entry in opened(tmp_path / "index").files()}
    assert times["young.txt"] == 0 or time.time_ns() - times["young.txt"] > 2_000_000_000
    assert times["sky.txt"] == 10**18 + len("sky.txt")


def test_files_of_another_corpus_are_read_though_their_names_sizes_and_times_are_the_same(tmp_path: Path) -> None:
    for name, text in (("a", "apple pie text"), ("b", "berry pie text")):
        put(tmp_path / name, {"x.txt": text, "same.txt": "the same in both", "broken.pdf": f"no PDF {name}"})
        for file in (tmp_path / name).iterdir():
            os.utime(file, ns=(10**18, 10**18))
    build(index_spec(tmp_path / "a"), tmp_path / "index")
    report = build(index_spec(tmp_path / "b"), tmp_path / "index")
    assert (report.changed, report.unchanged, len(report.skipped)) == (1, 1, 1)
    assert {passage.text for passage in opened(tmp_path / "index").passages} == {"berry pie text", "the same in both"}
    again = build(index_spec(tmp_path / "b"), tmp_path / "index")
    assert not again.built
