from __future__ import annotations

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ragdecode.documents.walk import Skipped
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.estimate import Estimate
from tests.cli.index_app import Commands, make_app
from tests.indexing.doubles import TEXTS, HashedWords, word_offsets

OLD = 1_700_000_000


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Commands in an app whose files are so old that their times are believed."""
    root = make_app(tmp_path / "app", monkeypatch)
    for path in (root / "docs").rglob("*"):
        os.utime(path, (OLD, OLD))
    return Commands(monkeypatch, capsys)


def lines_of(file: str) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    found = {row["source"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_report_accounts_for_every_file(index: Commands) -> None:
    Path("docs/bad.txt").write_bytes(b"\xe9\xe8 bad")
    Path("docs/empty.md").touch()
    Path("docs/.hidden.md").write_text("x")
    Path("docs/.git").mkdir()
    Path("docs/photo.PNG").write_bytes(b"\x89PNG")
    Path("docs/other.png").write_bytes(b"\x89PNG")
    Path("docs/line\nend.md").write_text("Text with a strange name.")
    Path("docs/link.md").symlink_to(Path("docs/sky.txt").resolve())
    done = index("build", "qa", "--report", "report.jsonl")
    assert done.code == 0
    assert "left out by include/exclude: 2 files (.png 2)" in done.out.splitlines()
    assert "left out as hidden: 1 file (.md 1), 1 folder" in done.out.splitlines()
    rows = lines_of("report.jsonl")
    met = {path.relative_to("docs").as_posix() for path in Path("docs").rglob("*") if not path.is_dir()}
    assert set(rows) == met | {".git/"}
    assert Counter(row["status"] for row in rows.values()) == {"read": 5, "skipped": 3, "left out": 4}
    sky = Path("docs/sky.txt").stat().st_size
    assert rows["sky.txt"] == {"source": "sky.txt", "status": "read", "reason": "", "passages": 1, "bytes": sky}
    assert rows["bad.txt"]["reason"].startswith("not valid utf-8")
    assert (rows["bad.txt"]["bytes"], rows["bad.txt"]["passages"]) == (6, 0)
    assert rows["link.md"]["reason"] == "a link to 'sky.txt', which is read under its own name"
    assert (rows[".git/"]["reason"], rows["photo.PNG"]["reason"]) == ("hidden", "not matched by include")
    assert sum(row["passages"] for row in rows.values()) == index("info", "qa", "--json").json["passages"]


def test_the_report_tells_what_was_taken_over(index: Commands) -> None:
    index("build", "qa")
    index("build", "qa", "--report", "report.jsonl")
    assert {row["status"] for row in lines_of("report.jsonl").values()} == {"unchanged"}
    Path("docs/sky.txt").write_text("The sky is grey.")
    index("build", "qa", "--report", "report.jsonl")
    assert {source for source, row in lines_of("report.jsonl").items() if row["status"] == "read"} == {"sky.txt"}
    index("build", "qa", "--force", "--report", "report.jsonl")
    assert {row["status"] for row in lines_of("report.jsonl").values()} == {"read"}


def test_the_report_is_written_for_an_empty_corpus_too(index: Commands) -> None:
    done = index("build", "qa", "--set", "index.corpus.include=[x.xyz]", "--report", "report.jsonl")
    assert done.code == 2
    assert {row["status"] for row in lines_of("report.jsonl").values()} == {"left out"}
    for path in [path for path in Path("docs").rglob("*") if path.is_file()]:
        path.write_bytes(b"")
    done = index("build", "qa", "--report", "report.jsonl")
    assert done.code == 2
    assert {(row["status"], row["reason"]) for row in lines_of("report.jsonl").values()} == {("skipped", "empty")}


def test_a_report_that_cannot_be_written_is_told_before_the_build(index: Commands) -> None:
    for place in ("docs", "nowhere/report.jsonl"):
        done = index("build", "qa", "--report", place)
        assert done.code == 2
        assert "the report cannot be written" in done.err
    assert index("info", "qa").code == 2  # nothing was built
    Path("report.jsonl").write_text("old")
    index("build", "qa", "--set", "index.corpus.path=nowhere", "--report", "report.jsonl")
    assert Path("report.jsonl").read_text() == "old"
    assert [path.name for path in Path().glob(".report*")] == []


def test_builds_are_announced_before_anything_is_read(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def offsets(text: str) -> list[tuple[int, int]]:
        told.append("read")
        return word_offsets(text)

    def lines(expected: Estimate) -> list[str]:
        told.append("announced")
        return []

    monkeypatch.setattr("ragdecode.indexing.models.IndexModels.token_offsets", staticmethod(offsets))
    monkeypatch.setattr(Estimate, "lines", lines)
    assert index("build", "qa").code == 0
    assert told[:2] == ["announced", "read"]
    assert told.count("announced") == 1


def test_a_dry_run_reads_and_writes_nothing(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> Any:
        pytest.fail("it reads")

    monkeypatch.setattr("ragdecode.indexing.models.IndexModels.token_offsets", staticmethod(refuse))
    Path("docs/empty.md").touch()
    done = index("build", "qa", "--dry-run")
    size = sum(path.stat().st_size for path in Path("docs").rglob("*") if path.is_file())
    assert done.code == 0
    assert f"  4 files, {size} bytes\n" in done.err
    assert "expected: about 4 passages, " in done.err
    assert "free), " in done.err
    assert done.out == "skipped empty.md: empty\n"
    facts = index("build", "qa", "--dry-run", "--json").json
    assert facts["estimate"]["files"] == facts["estimate"]["new_files"] == 4
    assert facts["estimate"]["fits"] is True
    assert (facts["dry_run"], facts["skipped"]) == (True, [{"source": "empty.md", "reason": "empty"}])
    assert not Path(".ragdecode").exists()


def test_only_changes_are_announced(index: Commands) -> None:
    assert index("build", "qa").code == 0
    assert "expected" not in index("build", "qa").err
    Path("docs/new.md").write_text("New.")
    os.utime("docs/new.md", (OLD, OLD))
    done = index("build", "qa", "--json")
    assert "5 files, " in done.err
    assert "; to read: 1 file, 4 bytes" in done.err
    assert done.json["estimate"]["new_files"] == 1
    assert (done.json["added"], done.json["unchanged"]) == (1, 4)
    assert index("build", "qa", "--json").json["estimate"] is None


def test_what_does_not_fit_is_a_warning(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 100})())
    done = index("build", "qa")
    assert done.code == 0
    assert "(100 bytes free)" in done.err
    assert "warning: that is more than is free" in done.err


def test_long_embeddings_are_timed(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragdecode.indexing.estimate.MANY", 3)
    monkeypatch.setattr("ragdecode.indexing.models.IndexModels.encoder", lambda self, model: HashedWords())
    done = index("build", "qa", "--dry-run")
    assert "expected: about 0 s to encode 4 texts" in done.err


def test_many_skipped_files_are_cut_on_the_terminal_only(index: Commands) -> None:
    for number in range(60):
        Path(f"docs/empty-{number:02}.md").touch()
    done = index("build", "qa", "--report", "report.jsonl")
    skipped = [line for line in done.out.splitlines() if line.startswith("skipped")]
    assert (len(skipped), skipped[-1]) == (50, "skipped empty-49.md: empty")
    assert "... and 10 more; --report FILE lists all" in done.out.splitlines()
    assert sum(row["status"] == "skipped" for row in lines_of("report.jsonl").values()) == 60
    assert len(index("build", "qa", "--json").json["skipped"]) == 60
    assert "... and 10 more; --json lists all" in index("info", "qa").out.splitlines()


def test_kinds_left_out_are_one_line(index: Commands) -> None:
    for number in range(10):
        for copy in range(number + 1):
            Path(f"docs/{copy}.kind{number}").touch()
    out = index("build", "qa").out
    kinds = ", ".join(f".kind{number} {number + 1}" for number in range(9, 1, -1))
    assert f"left out by include/exclude: 55 files ({kinds}, others 3)" in out.splitlines()
    counts = index("build", "qa", "--json").json["left_out"]["not matched by include"]
    assert counts == {f".kind{number}": number + 1 for number in range(10)}


def test_one_is_no_plural(index: Commands) -> None:
    for name in [name for name in TEXTS if name != "sky.txt"]:
        Path("docs", name).unlink()
    lines = index("build", "notes").out.splitlines()
    assert lines[0].startswith("read: 1 file, 1 passage (")
    assert lines[-1] == "added 1 file, changed 0, removed 0, 1 passage"


def test_files_read_in_part_are_told(index: Commands) -> None:
    rows = [{"text": "The moon is far."}, {"text": "Stars are farther."}]
    Path("docs/rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    done = index("build", "qa", "--report", "report.jsonl")
    (line,) = [line for line in done.out.splitlines() if line.startswith("skipped in part rows.jsonl: ")]
    assert "line 3" in line
    row = lines_of("report.jsonl")["rows.jsonl"]
    assert (row["status"], row["passages"]) == ("read", 2)
    assert "line 3" in row["reason"]
    assert line in index("info", "qa").out.splitlines()
    assert [flaw["source"] for flaw in index("info", "qa", "--json").json["flaws"]] == ["rows.jsonl"]


def test_verify_tells_how_far_it_is(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragdecode.indexing.index import verify_index

    index("build", "qa")
    monkeypatch.setattr(manifests, "_BLOCK", 100)
    told: list[tuple[str, int, int]] = []
    facts = index("info", "qa", "--json").json
    assert verify_index(Path(facts["path"]), lambda *report: told.append(report)) == []
    assert facts["bytes"] == sum(facts["data"].values())
    assert told[-1] == ("verifying", facts["bytes"], facts["bytes"])
    assert len(told) >= facts["bytes"] // 100
    assert index("verify", "qa").err == "index: verifying\n"


def test_a_full_disk_keeps_the_old_report(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragdecode.cli.index_report import FileReport
    from ragdecode.documents.inventory import scan
    from ragdecode.spec.load import load_pipeline

    Path("report.jsonl").write_text("old\n")
    report = FileReport(Path("report.jsonl"), Path("index"))

    def full(self: Any, pieces: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spec = load_pipeline("qa").spec.index
    assert spec is not None
    monkeypatch.setattr("ragdecode.cli.whole_file._write", full)
    with pytest.raises(Exception, match="the disk is full"):
        report.write_empty(scan(spec.corpus), [Skipped("a", "b")])
    assert Path("report.jsonl").read_text() == "old\n"


def test_questions_announce_long_builds_only(
    index: Commands, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ragdecode.pipeline.pipeline import Pipeline

    caplog.set_level("INFO", "ragdecode")
    with Pipeline.load("qa") as pipeline:
        pipeline._source.open()
    assert "expected" not in caplog.text
    monkeypatch.setattr("ragdecode.indexing.estimate._LONG_FILES", 0)
    Path("docs/new.md").write_text("New.")
    with Pipeline.load("qa") as pipeline:
        pipeline._source.open()
    assert "index: 5 files, " in caplog.text
    assert "index: expected: about 5 passages, " in caplog.text
