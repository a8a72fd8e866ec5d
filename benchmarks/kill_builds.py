"""Kill builds with SIGKILL at random moments, and see what is left of them.

Usage: kill_builds.py [--kills 100] [--files 400] [--seed 0] [--keep DIR]

An index of half a corpus answers; then builds of the whole corpus are killed, each after a random part of the time
that an unbroken one takes. Some kills in a row hit the same build, so that it goes on several times; then one is let
through. After every kill the index of the half must open, be whole and answer as before (or, if the kill came after
the last step, the new one must). After every build that ends, its files must be those of an unbroken build, byte for
byte, and it must have done less than that one wherever the killed ones had come anywhere. Files read and texts
embedded are counted in the builds themselves. Prints one JSON object; exit code 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from hashed_encoder import HashedEncoder, word_offsets

from ragdecode.documents.readers.text import TextReader
from ragdecode.indexing.build import build_index
from ragdecode.indexing.index import open_index
from ragdecode.indexing.report import BuildReport
from ragdecode.spec.index import IndexSpec

STORES = ["bm25", {"faiss": {"encoder": {"kind": "encoder", "source": {"path": {"path": "/hashed"}}}, "kind": "flat"}}]
DIMENSION = 64
SECONDS = 0.0003
#: processes that have the packages loaded and no threads
_PROCESSES = multiprocessing.get_context("forkserver")
QUERY = "word12 word7 word30"


def write_corpus(folder: Path, files: int, chance: random.Random) -> None:
    """Files of a few passages each, old enough for their times to be trusted."""
    for number in range(files):
        path = folder / f"{number % 7}" / f"{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [f"word{int(chance.paretovariate(0.6)) % 5000}" for _ in range(chance.randint(20, 700))]
        path.write_text(". ".join(" ".join(words[at : at + 12]) for at in range(0, len(words), 12)), "utf-8")
        os.utime(path, ns=(10**18, 10**18 + number))


def build(corpus: Path, target: Path, counts: Path, begun: Event) -> BuildReport:
    """A build whose reads and embeddings are counted on disk, so that they outlive it."""
    begun.set()
    split = {"tokens": 64, "overlap": 16}
    spec = IndexSpec.model_validate({"corpus": {"path": str(corpus)}, "stores": STORES, "split": split})
    encoder = HashedEncoder(DIMENSION, SECONDS)
    encode, read = encoder.encode, TextReader.read
    with counts.open("ab", buffering=0) as stream:

        def counted_encode(texts: list[str], **role: Any) -> Any:
            vectors = encode(texts, **role)
            stream.write(b"t" * len(texts))
            return vectors

        def counted_read(self: TextReader, data: bytes) -> Any:
            stream.write(b"f")
            return read(self, data)

        encoder.encode = counted_encode  # type: ignore[method-assign]
        TextReader.read = counted_read  # type: ignore[method-assign]
        try:
            return build_index(
                spec,
                target,
                token_offsets=word_offsets,
                tokenizer_fingerprint="words",
                encoders=lambda model: encoder,
            )
        finally:
            TextReader.read = read  # type: ignore[method-assign]


def done(counts: Path) -> tuple[int, int]:
    """Files read and texts embedded."""
    told = counts.read_bytes() if counts.exists() else b""
    return told.count(b"f"), told.count(b"t")


def content(target: Path) -> dict[str, bytes]:
    """Every byte of an index, but for what says when and in which folder it was built."""
    found = {
        "/".join(path.relative_to(target).parts[1:]): path.read_bytes()
        for path in target.glob("data-*/**/*")
        if path.is_file()
    }
    manifest = json.loads((target / "manifest.json").read_text("utf-8"))
    listing = (target / manifest["listing"].pop("name")).read_bytes()
    del manifest["folder"]
    return {**found, "files.jsonl": listing, "manifest.json": json.dumps(manifest).encode()}


def answers(target: Path) -> list[tuple[str, str, float]]:
    """What the index in place answers, by all of its stores; it must be whole."""
    index = open_index(target, encoders=lambda model: HashedEncoder(DIMENSION))
    problems = index.verify()
    if problems:
        raise AssertionError(f"damaged: {problems}")
    return [(store, hit.passage.id, hit.score) for store in index.stores for hit in index.search(store, [QUERY], 5)[0]]


@dataclass
class Outcome:
    """What has been seen."""

    kills: int = 0
    too_late: int = 0
    builds_that_ended: int = 0
    resumed: int = 0
    files_read_again: int = 0
    texts_embedded_again: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Trial:
    """One corpus, and what unbroken builds of it give."""

    def __init__(self, base: Path, files: int, chance: random.Random) -> None:
        self.corpus, self.target, self.half = base / "docs", base / "index", base / "half"
        self.counts, self.chance, self.outcome = base / "counts", chance, Outcome()
        write_corpus(self.corpus, files, chance)
        kept = base / "kept"
        kept.mkdir()
        late = sorted(self.corpus.rglob("*.txt"))[::2]
        for path in late:
            path.rename(kept / path.name)
        self._run(self.half)
        self.counts.unlink()
        for path in late:
            (kept / path.name).rename(path)
        self.old = answers(self.half)
        shutil.copytree(self.half, base / "unbroken")
        self._run(base / "unbroken")
        self.whole, (self.reads, self.texts) = self.seconds, done(self.counts)
        self.expected, self.new = content(base / "unbroken"), answers(base / "unbroken")

    def once(self, most: int) -> None:
        """Kill a build up to ``most`` times as it goes on, then let it end."""
        shutil.rmtree(self.target, ignore_errors=True)
        shutil.copytree(self.half, self.target)
        self.counts.unlink(missing_ok=True)
        kills = self.chance.randint(1, min(4, most))
        for _ in range(kills):
            # of what is left to do: a build that goes on is shorter
            reads, texts = done(self.counts)
            left = 1 - (reads + texts) / (self.reads + self.texts)
            if self._run(self.target, self.chance.uniform(0, 1.1 * self.whole * max(0.2, left))):
                self.outcome.too_late += 1
                break
            self.outcome.kills += 1
            self._look(self._stage())
        self._end()

    def _run(self, target: Path, kill_after: float | None = None) -> bool:
        """Build in a process; whether it came to its end."""
        begun = _PROCESSES.Event()
        process = _PROCESSES.Process(target=build, args=(self.corpus, target, self.counts, begun))
        process.start()
        begun.wait()
        started = time.monotonic()
        process.join(kill_after)
        if process.is_alive():
            process.kill()
            process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"a build ended with {process.exitcode}")
        if kill_after is None:
            self.seconds = time.monotonic() - started
        return process.exitcode == 0

    def _stage(self) -> str:
        """How far the killed build had come."""
        kinds = self._journal()
        if not kinds:
            return "before" if answers(self.target) == self.old else "after"
        return {"key": "begun", "file": "reading", "table": "bm25", "store": "faiss"}.get(kinds[-1], kinds[-1])

    def _journal(self) -> list[str]:
        """Kinds of lines in the journal of a build that has not ended."""
        journal = self.target / ".building" / "journal.jsonl"
        lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
        return [line[2:].split('"')[0] for line in lines]

    def _look(self, stage: str) -> None:
        self.outcome.stages[stage] = self.outcome.stages.get(stage, 0) + 1
        found = answers(self.target)
        if found != self.old and not (found == self.new and stage in ("placed", "after")):
            self.outcome.problems.append(f"after a kill in {stage} the index answered otherwise")

    def _end(self) -> None:
        """Let the build end, and compare."""
        before, kept = done(self.counts), "file" in self._journal()
        if not self._run(self.target):
            self.outcome.problems.append("a build that was not killed did not end")
        self.outcome.builds_that_ended += 1
        if content(self.target) != self.expected:
            self.outcome.problems.append("the index differs from that of an unbroken build")
        if answers(self.target) != self.new:
            self.outcome.problems.append("the index answers otherwise than that of an unbroken build")
        reads, texts = done(self.counts)
        if kept:
            self.outcome.resumed += 1
            if (reads - before[0]) + (texts - before[1]) >= self.reads + self.texts:
                self.outcome.problems.append("a build did as much as if there had been nothing before it")
        self.outcome.files_read_again += reads - self.reads
        self.outcome.texts_embedded_again += texts - self.texts
        left = sorted(path.name for path in self.target.iterdir() if not path.name.startswith("data-"))
        if len(left) != 3 or left[0] != ".lock" or left[2] != "manifest.json":  # between them the list of files
            self.outcome.problems.append(f"left behind: {left}")


def main() -> None:
    """Kill, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to work; left as it is at the end")
    options = parser.parse_args()
    _PROCESSES.set_forkserver_preload(["ragdecode.indexing.build", "ragdecode.indexing.index", "bm25s", "faiss"])
    base = options.keep or Path(tempfile.mkdtemp(prefix="kill-builds-"))
    base.mkdir(parents=True, exist_ok=True)
    trial = Trial(base, options.files, random.Random(options.seed))  # noqa: S311
    while trial.outcome.kills < options.kills:
        trial.once(options.kills - trial.outcome.kills)
        print(f"\r{trial.outcome.kills}/{options.kills} kills", end="", file=sys.stderr)
    print(file=sys.stderr)
    if not options.keep:
        shutil.rmtree(base)
    unbroken = {"seconds": round(trial.whole, 2), "files_read": trial.reads, "texts_embedded": trial.texts}
    print(json.dumps({"unbroken": unbroken, **vars(trial.outcome)}, indent=2))
    sys.exit(1 if trial.outcome.problems else 0)


if __name__ == "__main__":
    main()
