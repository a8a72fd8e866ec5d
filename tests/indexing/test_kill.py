"""Builds that die without warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.indexing.doubles import answers, build, index_spec, opened, put

DRIVER = """
import os, signal, sys
from pathlib import Path
from ragdecode.indexing import build, manifest, passages
from ragdecode.indexing.stores import faiss
from tests.indexing import doubles

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def then_die(*args, **kwargs):
        function(*args, **kwargs)
        die()
    return then_die

point, root, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if point == "reading":
    passages.PassageWriter.write = die
elif point == "embedding":
    doubles.HashedWords.encode = die
elif point == "hashing":
    manifest.describe = die
elif point == "data in place":
    manifest.write = die
elif point == "manifest half written":
    manifest.os.fsync = die
elif point == "manifest in place":
    manifest.write = after(manifest.write)
doubles.build(doubles.index_spec(root), target)
"""

POINTS = ["reading", "embedding", "hashing", "data in place", "manifest half written", "manifest in place"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("before", ["an index", "nothing"])
def test_the_old_index_answers_after_a_kill_and_the_next_build_is_whole(
    tmp_path: Path, point: str, before: str
) -> None:
    root, target = tmp_path / "docs", tmp_path / "index"
    put(root)
    spec = index_spec(root)
    old = None
    if before == "an index":
        build(spec, target)
        old = answers(opened(target, spec))
    put(root, {"new.txt": "A blue sky over the sea.", "sky.txt": "The sky is grey."})
    command = [sys.executable, "-c", DRIVER, point, str(root), str(target)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    build(spec, tmp_path / "fresh")
    new = answers(opened(tmp_path / "fresh", spec))
    if point == "manifest in place":
        assert answers(opened(target, spec)) == new
    elif old is not None:
        assert answers(opened(target, spec)) == old
        assert opened(target, spec).verify() == []
    else:
        assert not (target / "manifest.json").exists()
    build(spec, target)
    index = opened(target, spec)
    assert answers(index) == new
    assert index.manifest.data == opened(tmp_path / "fresh").manifest.data
    assert sorted(path.name for path in target.iterdir()) == sorted([".lock", index.manifest.folder, "manifest.json"])
