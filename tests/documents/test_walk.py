from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ragdecode.documents.globs import matcher
from ragdecode.documents.walk import Found, Skipped, walk
from ragdecode.errors import InputError
from ragdecode.spec.index import CorpusSpec


def corpus(root: Path, **settings: Any) -> CorpusSpec:
    return CorpusSpec(path=str(root), **settings)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")


def outcome(spec: CorpusSpec) -> tuple[list[str], dict[str, str]]:
    items = list(walk(spec))
    found = [item.source for item in items if isinstance(item, Found)]
    return found, {item.source: item.reason for item in items if isinstance(item, Skipped)}


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("**/*.md", "a.md", True),
        ("**/*.md", "x/y/a.md", True),
        ("*.md", "x/a.md", False),
        ("x/**", "x/y/a.md", True),
        ("x/", "x/a.md", True),
        ("x/*/a.md", "x/y/z/a.md", False),
        ("**/y/*.md", "x/y/a.md", True),
        ("a?.md", "ab.md", True),
        ("a?.md", "a/.md", False),
        ("[a-c].md", "b.md", True),
        ("[!a-c].md", "b.md", False),
        ("**/*.md", "REPORT.MD", True),
        ("./a.md", "a.md", True),
        ("a.md", "aXmd", False),
        ("**/*.md", "line\nend.md", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert matcher([pattern])(path) is fits


def test_order_is_by_name_and_patterns_choose(tmp_path: Path) -> None:
    put(tmp_path, "b.md", "a/z.md", "a/b/c.txt", "c.py", "a.md", ".hidden/x.md", ".x.md", "drafts/d.md", "a\nb.md")
    found, skipped = outcome(corpus(tmp_path, exclude=["drafts/**"]))
    assert found == ["a/b/c.txt", "a/z.md", "a\nb.md", "a.md", "b.md"]
    assert skipped == {}


def test_excluding_a_folder_by_name_leaves_it_out(tmp_path: Path) -> None:
    put(tmp_path, "drafts/d.md", "keep.md")
    assert outcome(corpus(tmp_path, exclude=["drafts"]))[0] == ["keep.md"]


def test_links_are_not_followed_and_reported(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root, "a/one.md")
    put(outside, "secret.md")
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "out.md").symlink_to(outside / "secret.md")
    (root / "two.md").symlink_to(root / "a" / "one.md")
    (root / "dead.md").symlink_to(root / "nowhere")
    (root / "self.md").symlink_to(root / "self.md")
    found, skipped = outcome(corpus(root))
    assert found == ["a/one.md"]
    assert skipped == {
        "loop": "a link to '.', which is read under its own name",
        "out": "a link out of the corpus folder",
        "out.md": "a link out of the corpus folder",
        "two.md": "a link to 'a/one.md', which is read under its own name",
        "dead.md": "a link that leads nowhere or in a circle",
        "self.md": "a link that leads nowhere or in a circle",
    }


def test_empty_large_and_special_files_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "fine.md")
    (tmp_path / "empty.md").touch()
    (tmp_path / "large.md").write_bytes(b"x" * 2001)
    os.mkfifo(tmp_path / "pipe.md")
    found, skipped = outcome(corpus(tmp_path, max_file_mb=0.002))
    assert found == ["fine.md"]
    assert skipped["empty.md"] == "empty"
    assert skipped["large.md"].startswith("too large: 0.0 MB, the limit max_file_mb is 0.002")
    assert skipped["pipe.md"] == "not a regular file"


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.md")).write_text("x")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    found, skipped = outcome(corpus(tmp_path))
    assert found == []
    assert skipped == {"bad\\udcff.md": "its name is not valid UTF-8"}


def test_a_single_file_is_a_corpus(tmp_path: Path) -> None:
    put(tmp_path, "only.rst", "other.md")
    assert outcome(corpus(tmp_path / "only.rst"))[0] == ["only.rst"]


def test_a_missing_corpus_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.*No such file"):
        list(walk(corpus(tmp_path / "nowhere")))


def test_folders_and_files_that_vanish_meanwhile_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "a/one.md", "b/two.md", "three.md")
    items = walk(corpus(tmp_path))
    assert next(items).source == "a/one.md"
    (tmp_path / "b" / "two.md").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "three.md").unlink()
    assert list(items) == [
        Skipped("b", "the folder cannot be listed: No such file or directory"),
        Skipped("three.md", "cannot be read: No such file or directory"),
    ]


def test_a_folder_that_may_not_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "closed/one.md", "open/two.md")
    real = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, skipped = outcome(corpus(tmp_path))
    assert found == ["open/two.md"]
    assert skipped == {"closed": "the folder cannot be listed: Permission denied"}


def test_circles_of_folders_end(tmp_path: Path) -> None:
    put(tmp_path, "a/b/one.md")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "x").symlink_to(tmp_path / "y")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    found, skipped = outcome(corpus(tmp_path))
    assert found == ["a/b/one.md"]
    assert skipped == {"a/b/up": "a link to 'a', which is read under its own name"}
