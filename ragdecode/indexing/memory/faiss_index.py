"""FAISS indexes over the keys of a memory, by Euclidean distance: they find candidates, the keys themselves decide.

Lists of product codes as in kNN-LM (Khandelwal and others 2020, https://arxiv.org/abs/1911.00172): Jegou and others,
"Product Quantization for Nearest Neighbor Search", IEEE TPAMI 2011; graph: Malkov and Yashunin, arXiv 1603.09320.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.errors import InputError
from ragdecode.indexing.memory.known import KEYS
from ragdecode.indexing.vectors.faiss_kinds import Plan
from ragdecode.indexing.vectors.training import sample, threads, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.indexing.stores.memory import MemorySettings

FILE = "index.faiss"
#: up to so many entries ``auto`` compares with all
FLAT_UP_TO = 100_000
#: keys that a k-means centre needs at least (FAISS's own bound), and that it is trained on at most
_LEAST, _MOST = 39, 64
#: rounds of k-means
_ROUNDS = 10
#: values of a code's byte; each is a k-means centre
_CODES = 256
#: keys read, and added, at once
_BLOCK = 1 << 14


def plan(settings: MemorySettings, entries: int, width: int) -> Plan:
    """Kind and sizes for so many entries; smaller ones, and the reason, where there are too few to train on.

    Raises:
        InputError: ``code_bytes`` does not divide the width of a key.
    """
    kind = settings.kind
    if kind == "auto":
        kind = "flat" if entries <= FLAT_UP_TO else "ivfpq"
    if kind == "flat":
        return Plan("flat")
    if kind == "hnsw":
        sizes = {"neighbours": settings.neighbours or 32, "build_depth": settings.build_depth or 100}
        return Plan("hnsw", {**sizes, "search_depth": settings.search_depth or 128})
    code = _code_bytes(settings.code_bytes, width)
    if entries < (needed := _LEAST * _CODES):
        return Plan("flat", reason=f"ivfpq needs at least {needed} entries to be trained on, there are {entries}")
    asked = settings.lists or min(4096, max(1, round(4 * entries**0.5)))
    lists = min(asked, entries // _LEAST)
    reason = f"{lists} lists: {asked} need at least {_LEAST * asked} entries" if lists < asked else ""
    probes = min(lists, settings.probes or max(32, lists // 16))
    sizes = {"lists": lists, "probes": probes, "code_bytes": code, "refine": settings.refine or 4}
    return Plan("ivfpq", sizes, reason if settings.lists else "")


def _code_bytes(asked: int | None, width: int) -> int:
    divisors = [size for size in range(1, width + 1) if width % size == 0]
    if asked is None:
        return max(size for size in divisors if size <= 64)
    if asked not in divisors:
        near = sorted(divisors, key=lambda size: abs(size - asked))[:3]
        raise InputError(
            f"memory.code_bytes is {asked}, which does not divide the {width} numbers of a key",
            hint=f"nearest that do: {', '.join(map(str, sorted(near)))}",
            component="store memory",
        )
    return asked


def size(plan: Plan, entries: int, width: int) -> int:
    """Bytes of the index file; while it is built they are in memory."""
    if plan.kind == "flat":
        return 0
    if plan.kind == "hnsw":  # twice the neighbours in the lowest layer, a place and a level each
        return entries * (2 * width + 8 * plan.sizes["neighbours"] + 16)
    return entries * (plan.sizes["code_bytes"] + 8) + 4 * width * (plan.sizes["lists"] + _CODES)


def workspace(plan: Plan, width: int) -> int:
    """Bytes of memory for the sample that is trained on and the block that is added."""
    return 0 if plan.kind == "flat" else 4 * width * (_trained_on(plan) + _BLOCK)


def _trained_on(plan: Plan) -> int:
    return _MOST * max(plan.sizes["lists"], 4 * _CODES) if plan.kind == "ivfpq" else 0


def build(plan: Plan, folder: Path, progress: Callable[[int, int], None]) -> None:
    """Write the index of the keys in a folder; nothing for kind flat. The same keys give the same file.

    Raises:
        OSError: The disk is full.
    """
    if plan.kind == "flat":
        return
    import faiss

    keys = np.load(folder / KEYS, mmap_mode="r", allow_pickle=False)
    total, width = keys.shape
    index: Any
    if plan.kind == "hnsw":
        half: Any = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(width, half, plan.sizes["neighbours"], faiss.METRIC_L2)
        index.hnsw.efConstruction = plan.sizes["build_depth"]
        index.is_trained = True  # half precision has nothing to learn
    else:
        lists = plan.sizes["lists"]
        centres = faiss.IndexFlatL2(width)
        index = faiss.IndexIVFPQ(centres, width, lists, plan.sizes["code_bytes"], 8, faiss.METRIC_L2)
        index.pq.cp.niter = _ROUNDS
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _MOST
    with threads(1 if plan.kind == "hnsw" else faiss.omp_get_max_threads()):  # a graph depends on the order
        if not index.is_trained:
            rows = sample(total, _trained_on(plan))
            taken = [
                keys[first : first + _BLOCK][rows[within(rows, first, keys[first : first + _BLOCK])] - first]
                for first in range(0, total, _BLOCK)
            ]
            index.train(np.concatenate(taken).astype(np.float32))
        for first in range(0, total, _BLOCK):
            block = keys[first : first + _BLOCK].astype(np.float32)
            index.add(block)
            progress(first + len(block), total)
    try:
        faiss.write_index(index, str(folder / FILE))
    except RuntimeError as error:  # its message quotes the system's, the number is lost
        full = os.strerror(errno.ENOSPC) in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, f"{FILE} cannot be written: {error}") from error


class FaissCandidates:
    """Candidates for the nearest keys from an index that is mapped from disk.

    Args:
        folder: Where it lies.
        facts: What the build left in the manifest.

    Raises:
        ValueError: The file is damaged, or of another size than it should be.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        import faiss

        try:
            self._index: Any = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ValueError(f"{FILE} cannot be read") from error
        if (self._index.ntotal, self._index.d) != (facts["entries"], facts["width"]):
            raise ValueError(f"{FILE} does not fit the keys")
        self._hnsw = facts["kind"] == "hnsw"
        self._depth = int(facts.get("search_depth", 0))
        self._refine = int(facts.get("refine", 1))
        self._probes = int(facts.get("probes", 0))

    def find(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows of candidates for the ``count`` nearest keys of queries ``[Q, >= count]``, -1 where there are none."""
        import faiss

        count = min(count * self._refine, self._index.ntotal)
        # threads search the same index at once: what belongs to one search is not set on it
        kinds: Any = faiss
        if self._hnsw:
            own = kinds.SearchParametersHNSW(efSearch=max(self._depth, count))
        else:
            own = kinds.SearchParametersIVF(nprobe=self._probes)
        rows: NDArray[np.int64] = self._index.search(queries, count, params=own)[1]
        return rows
