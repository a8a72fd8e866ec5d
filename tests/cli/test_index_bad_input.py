"""Corpora and disks as they should not be, through the command line: a clear message, and the old index answers."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ragdecode.indexing import manifest as manifests
from tests.cli.index_app import Commands, Done, make_app
from tests.documents.pdfs import pdf
from tests.indexing.doubles import word_offsets


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Commands in an app whose index ``qa`` has been built."""
    make_app(tmp_path / "app", monkeypatch)
    commands = Commands(monkeypatch, capsys)
    assert commands("build", "qa").code == 0
    return commands


def answers(index: Commands) -> list[str]:
    """What the index in place finds."""
    path = index("info", "qa", "--json").json["path"]
    return [hit["id"] for hit in index("search", path, "blue sea and sky", "--json").json["hits"]]


def clear() -> None:
    for path in [path for path in Path("docs").rglob("*") if path.is_file()]:
        path.unlink()


def failed(done: Done, code: int, *shown: str) -> None:
    assert done.code == code
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    for text in shown:
        assert text in done.err


def test_an_empty_corpus(index: Commands) -> None:
    before = answers(index)
    clear()
    failed(index("build", "qa"), 2, "the corpus is empty: no file in", "put documents there")
    assert answers(index) == before


def test_nothing_but_empty_files(index: Commands) -> None:
    before = answers(index)
    for path in [path for path in Path("docs").rglob("*") if path.is_file()]:
        path.write_bytes(b"")
    failed(index("build", "qa"), 2, "no readable file in", "'sky.txt': empty")
    assert answers(index) == before


def test_a_file_of_500_mb(index: Commands) -> None:
    with Path("docs/huge.txt").open("wb") as stream:
        stream.truncate(500_000_000)  # takes no room: zeros that are not written
    shown = "skipped huge.txt: too large: 500.0 MB, the limit max_file_mb is 100"
    assert shown in index("build", "qa").out.splitlines()
    os.truncate("docs/huge.txt", 3_000_000)
    (line,) = [line for line in index("build", "qa").out.splitlines() if line.startswith("skipped huge.txt")]
    assert "binary" in line


def test_a_pdf_of_images_and_wrong_extensions(index: Commands) -> None:
    Path("docs/scan.pdf").write_bytes(pdf([""]))
    Path("docs/text.pdf").write_text("This is no PDF.")
    Path("docs/photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    done = index("build", "qa")
    assert done.code == 0
    skipped = {line.split(":")[0] for line in done.out.splitlines() if line.startswith("skipped")}
    assert skipped == {"skipped scan.pdf", "skipped text.pdf", "skipped photo.txt"}


def test_loops_of_links_and_names_with_line_ends(index: Commands) -> None:
    Path("docs/loop").symlink_to(Path("docs").resolve())
    Path("docs/self.md").symlink_to("self.md")
    Path("docs/a\nb.md").write_bytes(b"\xff\xfe\xfd")
    Path("docs/c\nd.md").write_text("Text of a file with a strange name.")
    done = index("build", "qa", "--report", "report.jsonl")
    assert done.code == 0
    assert "skipped loop: a link to '.', which is read under its own name" in done.out.splitlines()
    assert "skipped self.md: a link that leads nowhere or in a circle" in done.out.splitlines()
    assert any(line.startswith("skipped 'a\\nb.md': ") for line in done.out.splitlines())
    rows = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert {"a\nb.md", "c\nd.md"} <= {row["source"] for row in rows}
    assert "a\nb.md" in {row["source"] for row in index("info", "qa", "--json").json["skipped"]}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_no_room_for_the_index(index: Commands) -> None:
    before = answers(index)
    Path("docs/book.txt").write_text("The old man and the sea. " * 4000)
    with largest_file(20_000):
        done = index("build", "qa")
    failed(done, 1, "cannot be written", "the old index, if there was one, is whole")
    assert answers(index) == before
    assert index("build", "qa").code == 0
    assert index("verify", "qa").code == 0


def test_an_index_of_another_version(index: Commands) -> None:
    path = Path(index("info", "qa", "--json").json["path"])
    raw = json.loads((path / manifests.NAME).read_text())
    raw["format"] = 99
    (path / manifests.NAME).write_text(json.dumps(raw))
    for command in (("info", "qa"), ("verify", "qa"), ("search", "qa", "blue")):
        failed(index(*command), 1, f"has format 99; this version reads format {manifests.FORMAT}", "rebuild it")
    done = index("build", "qa")
    assert done.code == 0
    assert "built anew: the index" in done.out
    assert index("search", "qa", "blue").code == 0


@pytest.mark.parametrize("command", ["build", "info", "verify"])
def test_a_target_that_is_nothing(index: Commands, command: str) -> None:
    failed(index(command, "nothing-like-that"), 2, "nothing-like-that")
    Path("list.yaml").write_text("- a\n- b\n")
    failed(index(command, "list.yaml"), 2, "list.yaml")


def test_a_corpus_that_is_not_there(index: Commands) -> None:
    before = answers(index)
    Path("docs").rename("elsewhere")
    failed(index("build", "qa"), 2, "docs")
    Path("elsewhere").rename("docs")
    assert answers(index) == before


def test_ctrl_c_leaves_the_old_index_and_the_next_build_goes_on(
    index: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(index)
    for number in range(5):
        Path(f"docs/new-{number}.md").write_text(f"New text number {number}.")
    read: list[str] = []

    def offsets(text: str) -> list[tuple[int, int]]:
        read.append(text)
        if len(read) == 3:
            signal.raise_signal(signal.SIGINT)
        return word_offsets(text)

    monkeypatch.setattr("ragdecode.indexing.models.IndexModels.token_offsets", staticmethod(offsets))
    done = index("build", "qa")
    assert done.code == 130
    assert "\nthe index is as it was; the next build goes on with what this one has done\n" in done.err
    assert done.err.endswith("interrupted\n")
    assert answers(index) == before
    done = index("build", "qa", "--json")
    assert (done.code, done.json["added"], done.json["resumed"]) == (0, 5, 2)
    assert len(read) == 6  # two, the one that was interrupted, and the three that were left
