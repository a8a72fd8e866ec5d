"""FAISS kinds against flat: query time, recall, build time and size on vectors that are given."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stores_timing import interleaved

from ragdecode.indexing.store import Probe
from ragdecode.indexing.stores.faiss import FaissSettings, FaissStore
from ragdecode.indexing.vectors import faiss_kinds
from ragdecode.indexing.vectors.embedding import VECTORS
from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher
from ragdecode.models.catalogue import find_model
from ragdecode.models.encoder import load_encoder

KINDS = ("flat", "ivf", "hnsw", "pq")


class Given:
    """An encoder whose texts are row numbers of vectors that are there already."""

    fingerprint = "given"

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self.dimension = vectors.shape[1]

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Vectors ``[len(texts), dimension]``."""
        return self._vectors[[int(text) for text in texts]]


def clustered(passages: int, queries: int, dimension: int = 384) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Passages and queries around the same centres, 20 passages to each, of length 1."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((max(1, passages // 20), dimension), np.float32)

    def around(count: int) -> NDArray[np.float32]:
        points = centres[draw.integers(0, len(centres), count)] + draw.standard_normal((count, dimension), np.float32)
        made: NDArray[np.float32] = points / np.linalg.norm(points, axis=1, keepdims=True)
        return made

    return around(passages), around(queries)


def real(
    folders: Sequence[Path], passages: int, queries: int, work: Path | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """MiniLM's vectors of the documents of collections in BEIR layout, pooled, and of their queries.

    Args:
        folders: The collections.
        passages: Documents at most.
        queries: Queries at most.
        work: Work folder of ``retrieval_quality.py``, whose indexes hold vectors of collections already.
    """
    encoder = load_encoder(find_model("minilm"), device="cpu")
    known, texts, asked = [], [], []
    for folder in folders:
        built = sorted(work.glob(f"{folder.name}/data-*/stores/faiss/{VECTORS}")) if work else []
        if built:
            known.append(np.load(built[-1]))
        else:
            rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
            texts += [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
        lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        asked += [json.loads(line)["text"] for line in lines]
    draw = np.random.default_rng(0)
    some = [texts[at] for at in draw.permutation(len(texts))[:passages]]
    pooled = np.concatenate([*known, *([encoder.encode(some)] if some else [])])
    few = [asked[at] for at in draw.permutation(len(asked))[:queries]]
    return pooled[draw.permutation(len(pooled))[:passages]], encoder.encode(few, role="query")


def measure(passages: NDArray[np.float32], queries: NDArray[np.float32], repeats: int) -> list[dict[str, Any]]:
    """One row a kind; recall is the share of flat's best 10 and 100 that are found."""
    rows, searchers = [], {}
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            folder = Path(name) / kind
            folder.mkdir()
            np.save(folder / VECTORS, passages)
            settings = FaissSettings.model_validate({"encoder": find_model("minilm").model_dump(), "kind": kind})
            plan = faiss_kinds.plan(settings, *passages.shape)
            started = time.perf_counter()
            faiss_kinds.build(plan, folder, VECTORS, lambda done: None)
            seconds = time.perf_counter() - started
            facts = {"encoder": "given", **plan.facts}
            searchers[kind] = FaissStore(settings).open(folder, facts, lambda model: Given(queries))
            size = sum(file.stat().st_size for file in folder.iterdir())
            rows.append({"kind": kind, "built_as": plan.facts, "build_seconds": seconds, "bytes": size})
        probes = [Probe(str(number)) for number in range(len(queries))]
        found = {kind: {k: _rows(searcher, probes, k) for k in (10, 100)} for kind, searcher in searchers.items()}
        one = interleaved(
            {kind: lambda probe, it=searcher: it.search([probe], 10) for kind, searcher in searchers.items()},
            probes[:50],
            repeats,
        )
        many = interleaved(
            {kind: lambda batch, it=searcher: it.search(batch, 10) for kind, searcher in searchers.items()},
            [probes],
            repeats,
        )
    for row in rows:
        kind = row["kind"]
        row["passages"] = len(passages)
        row |= {f"recall@{k}": _recall(found["flat"][k], found[kind][k]) for k in (10, 100)}
        row |= {"seconds": one[kind], "faster": one["flat"] / one[kind], "faster_in_batches": many["flat"] / many[kind]}
    return rows


def _rows(searcher: FaissSearcher, probes: Sequence[Probe], k: int) -> list[set[int]]:
    return [{row for row, _ in found[:k]} for found in searcher.search(probes, k)]


def _recall(exact: Sequence[set[int]], found: Sequence[set[int]]) -> float:
    return float(np.mean([len(one & other) / len(one) for one, other in zip(exact, found, strict=True)]))
