"""The kinds of FAISS index beyond comparing with every passage: chosen by size, built from vectors on disk.

They find candidates; scores are always computed from the whole vectors. So their own copies are kept small: ``ivf`` and
``hnsw`` at half precision, ``pq`` as product codes (Jegou and others, "Product Quantization for Nearest Neighbor
Search", IEEE TPAMI 2011; HNSW: Malkov and Yashunin, arXiv 1603.09320).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.indexing.vectors.training import sample, threads, within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.stores.faiss import FaissSettings

    #: (vectors ``[q, d]``, how many) -> rows ``[q, >= how many]``, -1 where there are no more
    Candidates = Callable[[NDArray[np.float32], int], NDArray[np.int64]]

FILE = "index.faiss"
#: up to so many passages ``auto`` compares with all: a scan of 50,000 vectors of 384 numbers reads 77 MB, some
#: milliseconds, and is exact
FLAT_UP_TO = 50_000
#: up to so many ``auto`` takes hnsw, the best recall for its time; beyond, its graph outgrows the memory that pq saves
HNSW_UP_TO = 1_000_000
#: vectors that a k-means centre needs at least (FAISS's own bound), and that it is trained on at most
_LEAST, _MOST = 39, 64
#: rounds of k-means; more hardly move the centres
_ROUNDS = 10
#: values of a code's byte; each is a k-means centre
_CODES = 256
#: vectors read, and added, at once
_BLOCK = 1 << 14
#: candidates beyond those asked for: neighbours at half precision may change places, and equal scores belong together
_SPARE = 16


@dataclass(frozen=True)
class Plan:
    """What is going to be built.

    Attributes:
        kind: ``flat``, ``ivf``, ``hnsw`` or ``pq``; of a memory ``flat``, ``ivfpq`` or ``hnsw``.
        sizes: Its settings, with all defaults filled in.
        reason: Why it is another than was asked for; empty if it is not.
    """

    kind: str
    sizes: dict[str, int] = field(default_factory=dict)
    reason: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"kind": self.kind, **self.sizes, **({"reason": self.reason} if self.reason else {})}

    @property
    def summary(self) -> str:
        """For people."""
        return f"kind {self.kind}" + (f" ({self.reason})" if self.reason else "")


def plan(settings: FaissSettings, passages: int, dimension: int) -> Plan:
    """Kind and sizes for so many passages; smaller ones, and the reason, where there are too few of them to train on.

    Raises:
        InputError: ``code_bytes`` does not divide the dimension.
    """
    kind = settings.kind
    if kind == "auto":
        kind = "flat" if passages <= FLAT_UP_TO else "hnsw" if passages <= HNSW_UP_TO else "pq"
    if kind == "flat":
        return Plan("flat")
    if kind == "hnsw":
        sizes = {"neighbours": settings.neighbours or 32, "build_depth": settings.build_depth or 100}
        return Plan("hnsw", {**sizes, "search_depth": settings.search_depth or 128})
    code = _code_bytes(settings.code_bytes, dimension) if kind == "pq" else 0
    if passages < (needed := _LEAST * (_CODES if kind == "pq" else 2)):
        return Plan("flat", reason=f"{kind} needs at least {needed} passages to be trained on, there are {passages}")
    most = passages // _LEAST
    asked = settings.lists or max(1, round(4 * passages**0.5))
    lists = min(asked, most)
    reason = (
        f"{lists} lists: {asked} need at least {_LEAST * asked} passages" if settings.lists and lists < asked else ""
    )
    sizes = {"lists": lists, "probes": min(lists, settings.probes or max(32, lists // 16))}
    if kind == "pq":
        sizes |= {"code_bytes": code, "refine": settings.refine or 10}
    return Plan(kind, sizes, reason)


def _code_bytes(asked: int | None, dimension: int) -> int:
    divisors = [size for size in range(1, dimension + 1) if dimension % size == 0]
    if asked is None:
        return max(size for size in divisors if size <= max(1, dimension // 8))
    if asked not in divisors:
        near = sorted(divisors, key=lambda size: abs(size - asked))[:3]
        raise InputError(
            f"faiss.code_bytes is {asked}, which does not divide the encoder's dimension {dimension}",
            hint=f"nearest that do: {', '.join(map(str, sorted(near)))}",
            component="store faiss",
        )
    return asked


def size(plan: Plan, passages: int, dimension: int) -> int:
    """Bytes of the index file; while it is built they are in memory."""
    if plan.kind == "flat":
        return 0
    if plan.kind == "hnsw":  # twice the neighbours in the lowest layer, a place and a level each
        return passages * (2 * dimension + 8 * plan.sizes["neighbours"] + 16)
    code = plan.sizes.get("code_bytes", 2 * dimension)
    return passages * (code + 8) + 4 * dimension * (plan.sizes["lists"] + (_CODES if plan.kind == "pq" else 0))


def workspace(plan: Plan, dimension: int) -> int:
    """Bytes of memory for the sample that is trained on and the block that is added."""
    return 4 * dimension * (_trained_on(plan) + _BLOCK)


def _trained_on(plan: Plan) -> int:
    """Vectors in the sample at most."""
    return _MOST * max(plan.sizes.get("lists", 0), 4 * _CODES if plan.kind == "pq" else 0)


def build(plan: Plan, folder: Path, vectors: str, progress: Callable[[int], None]) -> None:
    """Write the index of the vectors in ``folder / vectors``; nothing for kind flat.

    The same vectors give the same file: samples and starts are seeded, and the graph grows in one thread, because
    its shape depends on the order in which passages are added.

    Raises:
        OSError: The disk is full.
    """
    if plan.kind == "flat":
        return
    import faiss
    import numpy as np

    stored = np.load(folder / vectors, mmap_mode="r", allow_pickle=False)
    (total, dimension), offset = stored.shape, stored.offset
    del stored
    index = _empty(plan, dimension)
    with threads(1 if plan.kind == "hnsw" else faiss.omp_get_max_threads()):
        if not index.is_trained:
            rows = sample(total, _trained_on(plan))
            blocks = _blocks(folder / vectors, offset, total, dimension)
            index.train(np.concatenate([block[rows[within(rows, at, block)] - at] for at, block in blocks]))
        for first, block in _blocks(folder / vectors, offset, total, dimension):
            index.add(block)
            progress(first + len(block))
    try:
        faiss.write_index(index, str(folder / FILE))
    except RuntimeError as error:  # its message quotes the system's, the number is lost
        full = os.strerror(errno.ENOSPC) in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, f"{FILE} cannot be written: {error}") from error


def _empty(plan: Plan, dimension: int) -> Any:
    import faiss

    index: Any
    half: Any = faiss.ScalarQuantizer.QT_fp16
    product = faiss.METRIC_INNER_PRODUCT
    if plan.kind == "hnsw":
        index = faiss.IndexHNSWSQ(dimension, half, plan.sizes["neighbours"], product)
        index.hnsw.efConstruction = plan.sizes["build_depth"]
        index.is_trained = True  # half precision has nothing to learn
        return index
    centres = faiss.IndexFlatIP(dimension)
    lists = plan.sizes["lists"]
    if plan.kind == "ivf":
        index = faiss.IndexIVFScalarQuantizer(centres, dimension, lists, half, product, False)
    else:
        index = faiss.IndexIVFPQ(centres, dimension, lists, plan.sizes["code_bytes"], 8, product)
        index.pq.cp.niter = _ROUNDS
    # vectors of length 1: so are the centres, and the nearest one is that with the largest product
    index.cp.spherical = True
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _MOST
    return index


def _blocks(file: Path, offset: int, total: int, dimension: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Vectors in pieces with the row of the first; read, not mapped, so that they are in memory one at a time."""
    import numpy as np

    for first in range(0, total, _BLOCK):
        count = min(_BLOCK, total - first)
        piece = np.fromfile(file, np.float32, count * dimension, offset=offset + 4 * first * dimension)
        yield first, piece.reshape(count, dimension)


def candidates(folder: Path, facts: Mapping[str, Any]) -> Candidates | None:
    """Open the index that proposes candidates, mapped from disk; None for kind flat.

    Raises:
        ValueError: The file is damaged.
    """
    if facts["kind"] == "flat":
        return None
    import faiss

    try:
        index: Any = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ValueError(f"{FILE} cannot be read") from error
    refine = int(facts.get("refine", 1))
    if facts["kind"] != "hnsw":
        index.nprobe = facts["probes"]

    def find(asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        count = min(k * refine + _SPARE, index.ntotal)
        own = None  # threads search the same index at once: what belongs to one search is not set on it
        if facts["kind"] == "hnsw":
            depth = max(facts["search_depth"], count)
            own = faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined]
        rows: NDArray[np.int64] = index.search(asked, count, params=own)[1]
        return rows

    return find
