from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ragdecode.documents.inventory import scan
from ragdecode.documents.walk import EXCLUDED, HIDDEN, NOT_INCLUDED, Found, LeftOut, Skipped, walk
from ragdecode.spec.index import CorpusSpec

FOLDERS, FILES = 20, 250


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of five thousand files of one byte, some of them of other kinds."""
    root = tmp_path_factory.mktemp("many")
    for folder in range(FOLDERS):
        (root / f"folder-{folder:02}").mkdir()
        for file in range(FILES):
            suffix = ".png" if file % 50 == 0 else ".txt"
            (root / f"folder-{folder:02}" / f"document-{file:04}{suffix}").write_bytes(b"x")
    return root


def corpus(root: Path, **settings: Any) -> CorpusSpec:
    return CorpusSpec(path=str(root), **settings)


def naive(root: Path, suffix: str) -> list[str]:
    """Files by another way: recursion over sorted names."""
    found = []
    for path in sorted(root.iterdir(), key=lambda one: one.name):
        if path.is_dir():
            found += [f"{path.name}/{below}" for below in naive(path, suffix)]
        elif path.name.endswith(suffix):
            found.append(path.name)
    return found


def test_thousands_of_files_in_order_with_little_memory(many: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    scan(corpus(many))  # imports and caches do not count
    tracemalloc.start()
    inventory = scan(corpus(many), lambda *report: reports.append(report))
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    # not what Python's table of interned strings takes when names of paths make it grow
    own = snapshot.filter_traces([tracemalloc.Filter(True, "*/ragdecode/documents/*")])
    kept = sum(trace.size for trace in own.traces)
    expected = naive(many, ".txt")
    assert [item.source for item in inventory] == expected
    assert len(inventory) == len(expected) == FOLDERS * FILES * 49 // 50
    assert inventory.bytes == len(expected)
    assert kept / len(inventory) < 150  # a list of `Found` takes four times that
    assert reports == [("scanning", 2000, 0), ("scanning", 4000, 0)]


def test_it_holds_what_the_walk_gives(many: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.md").touch()
    (tmp_path / "full.md").write_text("text")
    (tmp_path / "link.md").symlink_to(tmp_path / "full.md")
    for root in (many, tmp_path):
        spec = corpus(root)
        items = list(walk(spec))
        inventory = scan(spec)
        assert list(inventory) == items
        assert inventory[-1] == items[-1]
        assert inventory[1:3] == items[1:3]
        assert list(inventory.files()) == [
            (one.source, one.size, one.mtime_ns) for one in items if isinstance(one, Found)
        ]
        assert inventory.skipped == sum(isinstance(one, Skipped) for one in items)
    with pytest.raises(IndexError):
        scan(corpus(tmp_path))[3]


def test_what_is_not_asked_for_is_counted_and_named(many: Path) -> None:
    inventory = scan(corpus(many, exclude=["folder-03", "folder-04/*"]))
    others = list(inventory.others())
    assert LeftOut("folder-03/", EXCLUDED) in others
    assert LeftOut("folder-04/document-0001.txt", EXCLUDED) in others
    assert LeftOut("folder-00/document-0050.png", NOT_INCLUDED) in others
    assert inventory.left_out[EXCLUDED] == Counter({"/": 1, ".txt": FILES * 49 // 50, ".png": FILES // 50})
    assert inventory.left_out[NOT_INCLUDED] == Counter({".png": (FOLDERS - 2) * FILES // 50})
    assert len(inventory) + len(others) == 1 + (FOLDERS - 1) * FILES  # an excluded folder is one item


def test_hidden_things_are_counted(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_text("x")
    (tmp_path / ".note.TXT").write_text("x")
    (tmp_path / "Makefile").write_text("x")
    (tmp_path / "a.b\nc").write_text("x")
    inventory = scan(corpus(tmp_path))
    assert inventory.left_out[HIDDEN] == Counter({"/": 1, ".txt": 1})
    assert inventory.left_out[NOT_INCLUDED] == Counter({"": 1, ".b\nc": 1})
    assert list(inventory) == []


def test_a_corpus_of_one_file_or_of_none(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("text")
    (item,) = scan(corpus(tmp_path / "only.txt"))
    assert isinstance(item, Found)
    assert item.path.read_text() == "text"
    spec = CorpusSpec.model_construct(path=None, include=("**/*",), exclude=(), max_file_mb=1.0)
    assert len(scan(spec)) == 0
