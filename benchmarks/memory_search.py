"""Search figures of memories beyond what a corpus at hand gives: keys perturbed from a real memory's.

Each key is a real one moved by Gaussian noise whose length is about the distance at which real keys have their
nearest neighbour. Queries are real: what the model computes when it reads held-out text. Stages run in processes of
their own, so that each one's largest memory is its own; a stage whose result is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdecode.indexing.memory import faiss_index
from ragdecode.indexing.memory.datastore import MemoryDatastore
from ragdecode.indexing.memory.known import KEYS
from ragdecode.indexing.stores.memory import MemorySettings
from ragdecode.indexing.vectors.faiss_kinds import Plan

BLOCK = 1 << 15
#: keys whose nearest neighbour sets the length of the noise
PROBES = 256
#: candidates beyond those asked for, as `MemoryDatastore.search` takes them
SPARE = 32


def opened(index: Path) -> MemoryDatastore:
    """The memory of a built index."""
    manifest = json.loads((index / "manifest.json").read_text())
    return MemoryDatastore(index / manifest["folder"] / "stores" / "memory", manifest["stores"]["memory"]["facts"])


def perturb(index: Path, out: Path, entries: int) -> dict[str, Any]:
    """Write keys perturbed from a memory's, and real ones first: ``entries`` of them."""
    memory = opened(index)
    draw = np.random.default_rng(0)
    own = np.sort(draw.choice(len(memory), PROBES, replace=False))
    near = memory.search(memory.own_keys(own), 1, [range(int(row), int(row) + 1) for row in own]).distances[:, 0]
    squared = float(np.median(near))
    width = memory.keys.shape[1]
    spread = (squared / width) ** 0.5
    keys = np.lib.format.open_memmap(out / KEYS, mode="w+", dtype=np.float16, shape=(entries, width))
    began = time.monotonic()
    for first in range(0, entries, BLOCK):
        rows = np.arange(first, min(first + BLOCK, entries))
        block = memory.own_keys(rows % len(memory))
        moved = block + draw.standard_normal(block.shape, np.float32) * spread
        keys[rows] = np.where((rows < len(memory))[:, None], block, moved)
    keys.flush()
    return {"entries": entries, "width": width, "noise_squared": squared, "seconds": time.monotonic() - began}


def queries(index_spec: Path, text: Path, count: int, out: Path) -> dict[str, Any]:
    """Write what the model computes at the last places of held-out text ``[count, W]``."""
    from ragdecode.models.catalogue import find_model
    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.key_model import BackendKeys
    from ragdecode.pipeline.models import open_backend
    from ragdecode.spec.load import load_document
    from ragdecode.spec.pipeline import EngineSpec

    spec = load_document("indexes", str(index_spec)).spec
    model = load_causal(spec.tokenizer or find_model("smollm2-135m"))
    keys = BackendKeys(model, lambda: open_backend(model, EngineSpec()))
    found: list[NDArray[np.float32]] = []
    for file in sorted(text.glob("*.txt")):
        ids = model.tokenizer.encode(file.read_text(encoding="utf-8"), special=False)
        found += [
            keys.vectors([ids[first : first + 512]], [64], "ffn_input") for first in range(0, len(ids) - 512, 512)
        ]
        if sum(map(len, found)) >= count:
            break
    asked = np.concatenate(found)
    asked = asked[:: max(1, len(asked) // count)][:count]
    np.save(out / "queries.npy", asked)
    return {"queries": len(asked)}


def truth(folder: Path, k: int) -> dict[str, Any]:
    """Write the nearest k keys of all queries, by comparing with every key."""
    from ragdecode.indexing.memory.nearest import Blocked

    keys = np.load(folder / KEYS, mmap_mode="c")
    asked = np.load(folder / "queries.npy")
    norms = np.concatenate([
        np.square(keys[first : first + BLOCK].astype(np.float32)).sum(axis=1) for first in range(0, len(keys), BLOCK)
    ])  # fmt: skip
    began = time.monotonic()
    rows = Blocked(keys, norms).find(asked, k)
    seconds = time.monotonic() - began
    np.save(folder / "truth.npy", rows)
    return {"k": k, "queries": len(asked), "seconds": seconds, "seconds_a_query": seconds / len(asked)}


def planned(folder: Path, kind: str) -> Plan:
    """What a build of this kind does for so many keys."""
    entries, width = np.load(folder / KEYS, mmap_mode="r").shape
    return faiss_index.plan(MemorySettings(kind=kind), entries, width)  # type: ignore[arg-type]


def build(folder: Path, kind: str) -> dict[str, Any]:
    """Build the index as the store does."""
    plan = planned(folder, kind)
    began, trained = time.monotonic(), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal trained
        trained = trained or time.monotonic() - began
        if done % (BLOCK * 8) == 0 or done == total:
            print(f"{done:,} of {total:,} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    faiss_index.build(plan, folder, tell)
    seconds = time.monotonic() - began
    entries, width = np.load(folder / KEYS, mmap_mode="r").shape
    size = (folder / faiss_index.FILE).stat().st_size
    return {
        "kind": kind, **plan.sizes, "entries": entries, "seconds": seconds, "before_first_block": trained,
        "keys_a_second": entries / seconds, "index_bytes": size, "index_bytes_an_entry": size / entries,
        "bytes_an_entry": size / entries + 2 * width + 4 + 4,
    }  # fmt: skip


def search(folder: Path, kind: str, ks: Sequence[int], probes: Sequence[int]) -> list[dict[str, Any]]:
    """Time and recall of searches of one and of eight queries, for every k and number of probed lists."""
    keys = np.load(folder / KEYS, mmap_mode="r")
    asked, right = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    base = planned(folder, kind)
    rows = []
    for k in ks:
        for count in probes if kind == "ivfpq" else (0,):
            sizes = {**base.sizes, **({"probes": count} if count else {})}
            facts = {"entries": len(keys), "width": keys.shape[1], "kind": kind, **sizes}
            finder = faiss_index.FaissCandidates(folder, facts)
            for size in (1, 8):
                times, hits, touched = [], [], []
                for first in range(0, len(asked) - size + 1, size):
                    part = asked[first : first + size]
                    began = time.perf_counter()
                    found = np.sort(finder.find(part, k + SPARE), axis=1)
                    middle = time.perf_counter()
                    nearest = _nearest(keys, part, found, k)
                    times.append((middle - began, time.perf_counter() - middle))
                    hits += [len(np.intersect1d(a, b)) / k for a, b in zip(nearest, right[first:, :k], strict=False)]
                    touched.append(found.size)
                warm = np.asarray(times[len(times) // 4 :]) * 1000
                rows.append({
                    "kind": kind, "entries": len(keys), "k": k, **sizes, "queries_a_step": size,
                    "recall": float(np.mean(hits)), "candidates_ms": float(np.median(warm[:, 0])),
                    "whole_keys_ms": float(np.median(warm[:, 1])), "step_ms": float(np.median(warm.sum(axis=1))),
                    "step_ms_p95": float(np.quantile(warm.sum(axis=1), 0.95)),
                    "candidates": int(np.mean(touched) / size),
                })  # fmt: skip
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _nearest(
    keys: NDArray[np.float16], asked: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """The nearest k of candidates by their whole keys, as `MemoryDatastore.search` takes them ``[Q, k]``."""
    chosen = []
    for query, own in zip(asked, rows, strict=True):
        apart = keys[np.maximum(own, 0)].astype(np.float32)
        apart -= query
        far = np.einsum("nw,nw->n", apart, apart)
        far[own < 0] = np.inf
        chosen.append(own[np.argsort(far, kind="stable")[:k]])
    return np.stack(chosen)


def _stage(options: argparse.Namespace) -> None:
    """One stage, in this process."""
    out = options.out
    name = options.stage
    result: Any
    if name == "perturb":
        result = perturb(options.index, out, options.entries)
    elif name == "queries":
        result = queries(options.spec, options.text, options.queries, out)
    elif name == "truth":
        result = truth(out, max(options.k))
    elif name == "build":
        result = build(out, options.kind)
    else:
        result = search(out, options.kind, options.k, options.probes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held = [line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss")]
    told = {"result": result, "peak_bytes": peak, "held": {line[0][:-1]: int(line[1]) * 1024 for line in held}}
    (out / f"{name}.json").write_text(json.dumps(told, indent=1))
    print(f"{name}: {json.dumps(told)}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="folder of the index with the real memory")
    parser.add_argument("--spec", type=Path, required=True, help="its YAML")
    parser.add_argument("--text", type=Path, required=True, help="folder of held-out .txt files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--kind", choices=("ivfpq", "hnsw"), default="ivfpq")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--k", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--probes", type=int, nargs="+", default=[32, 64, 256])
    parser.add_argument("--stage", choices=("perturb", "queries", "truth", "build", "search"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage:
        _stage(options)
        return
    for stage in ("perturb", "queries", "truth", "build", "search"):
        if not (options.out / f"{stage}.json").exists():
            subprocess.run([sys.executable, *sys.argv, "--stage", stage], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
