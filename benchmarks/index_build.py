"""Rate, peak memory and size of an index build over N passages.

Usage: index_build.py [--passages 100000] [--words 120] [--encoder hashed|MODEL] [--stores bm25,faiss] [--workers N]
                      [--files 1000] [--kind flat] [--out RESULT.json] [--keep DIR]

Passages are made of words drawn by Zipf's law, 120 words a passage and some passages a file, so that words, lengths
and repetitions are like those of text. The encoder is a hash of words (dimension 384, almost no time and no weights),
or a model of the catalogue by name, such as minilm. The build runs in a process of its own. Its peak memory is the
largest resident set that the system has counted for it; the baseline is its resident set with all packages imported
and the encoder open, before the build. Pages of files that are mapped count as resident, although the system takes
them back when it needs them: `peak_anonymous_bytes` is the largest of the samples of the memory that is not (10 a
second; Linux only). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

from hashed_encoder import HashedEncoder, word_offsets

from ragdecode.indexing.build import build_index
from ragdecode.indexing.store import Encoders
from ragdecode.spec.index import IndexSpec

DIMENSION = 384
VOCABULARY = 50_000


def write_corpus(folder: Path, passages: int, words: int, files: int) -> None:
    """Files of paragraphs; each paragraph is as long as a passage may be."""
    chance = random.Random(0)  # noqa: S311
    vocabulary = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=chance.randint(2, 9))) for _ in range(VOCABULARY)]
    weights = list(accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))
    left = passages
    for number in range(files):
        count = left // (files - number)
        left -= count
        texts = (
            " ".join(chance.choices(vocabulary, cum_weights=weights, k=words - chance.randint(0, words // 4)))
            for _ in range(count)
        )
        path = folder / f"{number % 100:02}" / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(texts), "utf-8")


def resident() -> tuple[int, int]:
    """Bytes of memory of this process: all, and without mapped files; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    found = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if "kB" in value
    }
    return found["VmRSS"], found["RssAnon"]


def peak() -> int:
    """Largest resident set of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Watch:
    """Samples memory in the background, by stage of the build."""

    def __init__(self) -> None:
        self.stage, self.anonymous, self.by_stage = "start", 0, {}  # type: ignore[var-annotated]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def progress(self, stage: str, done: int, total: int) -> None:
        """Told by the build."""
        self.stage = stage

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            everything, anonymous = resident()
            self.anonymous = max(self.anonymous, anonymous)
            before = self.by_stage.get(self.stage, {"resident": 0, "anonymous": 0})
            self.by_stage[self.stage] = {
                "resident": max(before["resident"], everything),
                "anonymous": max(before["anonymous"], anonymous),
            }


def encoder_of(name: str) -> tuple[dict[str, Any] | str, Encoders]:
    """How YAML names the encoder, and what opens it."""
    if name == "hashed":
        encoder = HashedEncoder(DIMENSION)
        return {"kind": "encoder", "source": {"path": {"path": "/hashed"}}}, lambda model: encoder
    from ragdecode.indexing.models import IndexModels
    from ragdecode.models.catalogue import find_model

    return find_model(name).model_dump(mode="json"), IndexModels(None, None).encoder


def measure(corpus: Path, target: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One build, in this process."""
    import bm25s  # noqa: F401  all that a build imports, before it is measured
    import faiss  # noqa: F401
    import numpy  # noqa: F401

    model, encoders = encoder_of(options.encoder)
    stores: list[Any] = []
    for name in options.stores.split(","):
        stores.append({"faiss": {"encoder": model, "kind": options.kind}} if name == "faiss" else name)
    split = {"tokens": options.words + 8, "overlap": 0}
    spec = IndexSpec.model_validate({"corpus": {"path": str(corpus)}, "stores": stores, "split": split})
    for part in spec.stores:
        if part.name == "faiss":
            encoders(part.settings.encoder).encode(["a text with which the weights are read"])  # type: ignore[attr-defined]
    baseline = resident()
    with Watch() as watch:
        started = time.perf_counter()
        report = build_index(
            spec,
            target,
            token_offsets=word_offsets,
            tokenizer_fingerprint="words",
            encoders=encoders,
            progress=watch.progress,
            workers=options.workers,
        )
        seconds = time.perf_counter() - started
    sizes = {
        "/".join(path.relative_to(target).parts[1:]): path.stat().st_size
        for path in sorted(target.glob("data-*/**/*"))
        if path.is_file()
    }
    size = sum(sizes.values()) + sum(file.stat().st_size for file in target.glob("*.json*"))
    above = peak() - baseline[0]
    return {
        "passages": report.passages,
        "files": report.files,
        "tokens": report.tokens,
        "encoder": options.encoder,
        "kind": options.kind,
        "workers": options.workers,
        "seconds": round(seconds, 2),
        "passages_per_second": round(report.passages / seconds, 1),
        "stages": {
            stage.name: {"seconds": round(stage.seconds, 2), "summary": stage.summary} for stage in report.stages
        },
        "index_bytes": size,
        "data_bytes": sizes,
        "baseline_bytes": baseline[0],
        "peak_bytes": peak(),
        "peak_above_baseline_bytes": above,
        "peak_above_baseline_over_index": round(above / size, 3),
        "peak_anonymous_bytes": watch.anonymous - baseline[1],
        "by_stage": {
            stage: {"resident": sample["resident"] - baseline[0], "anonymous": sample["anonymous"] - baseline[1]}
            for stage, sample in watch.by_stage.items()
        },
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def main() -> None:
    """Write a corpus, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=120, help="longest passage")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--encoder", default="hashed", help="'hashed', or a model of the catalogue")
    parser.add_argument("--stores", default="bm25,faiss")
    parser.add_argument("--kind", default="flat", help="kind of FAISS index")
    parser.add_argument("--workers", type=int, default=0, help="Ray workers; their memory is not counted")
    parser.add_argument("--out", type=Path, help="write the result here, too")
    parser.add_argument("--keep", type=Path, help="where the corpus and the index are; left as they are at the end")
    options = parser.parse_args()
    base = options.keep or Path(tempfile.mkdtemp(prefix="index-build-"))
    try:
        if not (base / "docs").exists():
            write_corpus(base / "docs", options.passages, options.words, options.files)
        shutil.rmtree(base / "index", ignore_errors=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (base / "docs", base / "index", options))
    finally:
        if not options.keep:
            shutil.rmtree(base)
    text = json.dumps(result, indent=2)
    if options.out:
        options.out.write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
