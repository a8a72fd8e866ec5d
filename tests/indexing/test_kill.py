"""Builds that die without warning."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ragdecode.indexing.index import Index
from tests.indexing.doubles import answers, build, index_spec, opened, put

DRIVER = """
import os, signal, sys
from pathlib import Path
from ragdecode.indexing import build, files, manifest
from ragdecode.indexing.building import pool, store_stage, working
from tests.indexing import doubles

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function, calls=1):
    count = 0
    def then_die(*args, **kwargs):
        nonlocal count
        count += 1
        result = function(*args, **kwargs)
        return die() if count == calls else result
    return then_die

def half(value, stream, **settings):
    stream.write("{")
    stream.flush()
    die()

point, root, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if point == "reading":
    pool.append = die
elif point == "a file read but not journalled":
    pool.append = after(pool.append)
elif point == "a file journalled":
    pool.Pool.add = after(pool.Pool.add)
elif point == "passages written":
    working.Working.begin_table = after(working.Working.begin_table)
elif point == "embedding":
    doubles.HashedWords.encode = die
elif point == "hashing":
    manifest.describe = die
elif point == "stores finished":
    store_stage.StoreStage.finish = after(store_stage.StoreStage.finish)
elif point == "list half written":
    files.as_json = after(files.as_json, 3)
elif point == "list written":
    build.write_listing = after(build.write_listing)
elif point == "data in place":
    manifest.write = die
elif point == "manifest half written":
    manifest.json.dump = half
elif point == "manifest in place":
    manifest.write = after(manifest.write)
doubles.build(doubles.index_spec(root), target)
"""

POINTS = [
    "reading",
    "a file read but not journalled",
    "a file journalled",
    "passages written",
    "embedding",
    "hashing",
    "stores finished",
    "list half written",
    "list written",
    "data in place",
    "manifest half written",
    "manifest in place",
]


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
    assert index.verify() == []
    assert listed(index) == listed(opened(tmp_path / "fresh"))
    assert {path.name for path in target.iterdir()} == {".lock", "manifest.json", *index.manifest.names}


def listed(index: Index) -> list[object]:
    """All files, but for times: young files are not believed theirs."""
    return [replace(entry, mtime_ns=0) for entry in index.files()]


@pytest.mark.parametrize("point", ["list half written", "list written", "data in place", "manifest in place"])
def test_a_kill_while_only_times_are_written(tmp_path: Path, point: str) -> None:
    root, target = tmp_path / "docs", tmp_path / "index"
    put(root)
    spec = index_spec(root)
    build(spec, target)
    before = opened(target, spec)
    old = answers(before), listed(before)
    for path in root.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    command = [sys.executable, "-c", DRIVER, point, str(root), str(target)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    index = opened(target, spec)
    assert (answers(index), listed(index), index.verify()) == (*old, [])
    timed = {entry.mtime_ns for entry in index.files()} == {10**18}
    assert timed == (point == "manifest in place")
    assert not build(spec, target).built
    after = opened(target, spec)
    assert {entry.mtime_ns for entry in after.files()} == {10**18}
    assert after.manifest.folder == before.manifest.folder
    assert {path.name for path in target.iterdir()} == {".lock", "manifest.json", *after.manifest.names}


RANDOM = """
import multiprocessing, os, random, signal, sys, time
from pathlib import Path
from tests.indexing import doubles

class Slow(doubles.HashedWords):
    def encode(self, texts, **role):
        time.sleep(0.002 * len(texts))
        return super().encode(texts, **role)

def build(root, target):
    doubles.build(doubles.index_spec(root), target, Slow())

if __name__ == "__main__":
    root, base, chance = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(5)
    spec = doubles.index_spec(root)
    old = doubles.answers(doubles.opened(base / "index", spec))
    # one thread, and all packages loaded: children begin at once
    processes = multiprocessing.get_context("fork")
    started = time.monotonic()
    whole = processes.Process(target=build, args=(root, base / "unbroken"))
    whole.start()
    whole.join()
    seconds = time.monotonic() - started
    new = doubles.answers(doubles.opened(base / "unbroken", spec))
    kills = 0
    for _ in range(int(sys.argv[3])):
        process = processes.Process(target=build, args=(root, base / "index"))
        process.start()
        process.join(chance.uniform(0, seconds / 3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -9
        index = doubles.opened(base / "index", spec)
        assert index.verify() == []
        assert doubles.answers(index) in (old, new)
    print(kills)
"""


def test_kills_at_random_moments(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    texts = {f"{number}.txt": f"text {number} of {'blue sea and sky ' * (number % 17)}" for number in range(300)}
    put(root, {name: texts[name] for name in list(texts)[:50]})
    spec = index_spec(root)
    build(spec, tmp_path / "index")
    build(spec, tmp_path / "unbroken")
    put(root, texts)
    command = [sys.executable, "-c", RANDOM, str(root), str(tmp_path), "12"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0
    report = build(spec, tmp_path / "index")
    fresh = opened(tmp_path / "unbroken", spec)
    assert opened(tmp_path / "index", spec).manifest.data == fresh.manifest.data, "byte for byte"
    assert not report.built or report.resumed > 0
