"""Builds with Ray workers, in a process of their own: two workers are started once for all of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.building import ray_crew
from tests.indexing.doubles import build, index_spec, opened, put

DRIVER = """
import json, os, sys, time
from pathlib import Path
from ragdecode.errors import RagDecodeError
from ragdecode.indexing.vectors import plan as embedding_plan
from ragdecode.indexing.building.ray_crew import RayCrew
from tests.indexing.doubles import HashedWords, build, index_spec, put
import ray

embedding_plan.BATCH = 8
HERE = os.getpid()

class Marked(HashedWords):
    "Says on disk who has embedded; fails or dies where a text asks for it."
    def __init__(self, folder):
        super().__init__()
        self.folder = folder
    def encode(self, texts, *, role="document"):
        (self.folder / f"{os.getpid()}.pid").touch()
        if texts[0] == "fatal":
            os._exit(1)
        if texts[0] in ("missing", "faulty"):
            raise {"missing": RagDecodeError, "faulty": ZeroDivisionError}[texts[0]](f"no more: {texts[0]}")
        return super().encode(texts, role=role)

base = Path(sys.argv[1])
found = {}
docs = index_spec(base / "docs", corpus={"include": ["**/*.txt"]})
model = docs.stores[1].settings.encoder
marked = Marked(base)

def stop(stage, done, total):
    if (stage, done) == ("faiss", 24):
        raise KeyboardInterrupt

def failure(function):
    try:
        function()
    except BaseException as error:
        return [type(error).__name__, str(error)]

found["stopped"] = failure(lambda: build(docs, base / "index", marked, workers=2, progress=stop))
found["started and ended"] = not ray.is_initialized()
found["marks"] = [int(path.stem) == HERE for path in base.glob("*.pid")]

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
report = build(docs, base / "index", workers=2)
found["ray is left to its owner"] = ray.is_initialized()
found["content"] = report.content
found["resumed"] = [report.resumed, report.resumed_texts]
found["skipped"] = [[one.source, one.reason] for one in report.skipped]

class Local:
    def __reduce__(self):
        raise TypeError("cannot leave this process")
    def __call__(self, model):
        return HashedWords()
put(base / "docs", {"more.txt": "one more"})
found["local"] = failure(lambda: build(docs, base / "index", encoders=Local(), workers=2))

asked = []
with RayCrew(docs, len, lambda model: marked, 2) as crew:
    def batches():
        for number in range(40):
            asked.append(number)
            yield [f"text {number}"]
    vectors = crew.encode(model, batches())
    next(vectors)
    found["asked ahead"] = len(asked)
    found["all in order"] = all(
        (vector == HashedWords().encode([f"text {number}"])).all() for number, vector in enumerate(vectors, start=1)
    )
    for fault in ("missing", "faulty", "fatal"):
        found[fault] = failure(lambda: list(crew.encode(model, [[fault]])))
(base / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    base = tmp_path_factory.mktemp("ray")
    put(base / "docs", {f"{number % 3}/{number}.txt": f"text {number} of foxes and owls" for number in range(90)})
    put(base / "docs", {"empty.txt": "  ", "large.txt": "A long text. " * 3000})
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-W", "error::UserWarning:ragdecode", "-c", DRIVER, str(base)]
    ran = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert ran.returncode == 0, ran.stderr
    # in a file: what Ray says of its workers may come on stdout, after everything else
    return base, json.loads((base / "found.json").read_text(encoding="utf-8"))


def test_workers_give_the_same_index_as_one_process(outcome: tuple[Path, dict[str, Any]]) -> None:
    base, found = outcome
    (base / "docs" / "more.txt").unlink()
    report = build(index_spec(base / "docs", corpus={"include": ["**/*.txt"]}), base / "alone")
    assert found["content"] == report.content
    index = opened(base / "index")
    assert index.manifest.data == opened(base / "alone").manifest.data, "byte for byte"
    assert index.verify() == []
    assert found["skipped"] == [[one.source, one.reason] for one in report.skipped] != []


def test_the_work_is_done_by_workers_and_they_end(outcome: tuple[Path, dict[str, Any]]) -> None:
    found = outcome[1]
    assert found["marks"] == [False, False], "two processes, neither of them the one that builds"
    assert found["started and ended"]
    assert found["ray is left to its owner"]


def test_an_interrupted_build_goes_on(outcome: tuple[Path, dict[str, Any]]) -> None:
    assert outcome[1]["stopped"] == ["KeyboardInterrupt", ""]
    assert outcome[1]["resumed"] == [91, 24]


def test_failures_of_workers_are_told(outcome: tuple[Path, dict[str, Any]]) -> None:
    found = outcome[1]
    assert found["missing"] == ["RagDecodeError", "no more: missing"], "our own errors come as they are"
    kind, message = found["faulty"]
    assert kind == "RunError"
    assert "a worker failed: ZeroDivisionError: no more: faulty" in message
    kind, message = found["fatal"]
    assert (kind, message.split(":")[0]) == ("RunError", "a worker died")
    assert "is kept for the next build" in message
    kind, message = found["local"]
    assert kind == "InputError"
    assert "cannot be sent to workers: cannot leave this process" in message


def test_few_batches_are_under_way_at_once(outcome: tuple[Path, dict[str, Any]]) -> None:
    assert outcome[1]["asked ahead"] == 4, "two a worker"
    assert outcome[1]["all in order"]


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_crew, "find_spec", lambda name: None)
    put(tmp_path / "docs")
    with pytest.raises(InputError, match=r"pip install 'ragdecode\[ray\]'"):
        build(index_spec(tmp_path / "docs"), tmp_path / "index", workers=2)
    with pytest.raises(InputError, match="workers: expected 0 or more, found -1"):
        build(index_spec(tmp_path / "docs"), tmp_path / "index", workers=-1)


def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        put(tmp_path / "docs")
        with pytest.raises(RunError, match=f"the Ray cluster '{address}' cannot be reached: .*refused"):
            build(index_spec(tmp_path / "docs"), tmp_path / "index", workers=2)
