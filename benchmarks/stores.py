"""Local stores in one run, as ratios of medians: BM25 against rank_bm25, FAISS kinds against flat, encoder precisions.

Usage: python benchmarks/stores.py [--data FOLDER] [--bm25 1000 10000 100000] [--faiss 10000 100000] [--out FILE]

FOLDER holds collections in BEIR layout (scifact, cranfield, cisi, vaswani_npl). With it, FAISS kinds are also measured
on MiniLM's vectors of them, pooled, and the encoder's precisions on one of them. Programs that are compared take turns
query by query; a figure is the median of all queries and repeats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import stores_bm25
import stores_encoder
import stores_faiss

SETS = ("scifact", "cranfield", "cisi", "vaswani_npl")


def main() -> None:
    """Measure what is asked for; print tables, and write JSON after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="collections in BEIR layout; without, synthetic data only")
    parser.add_argument("--bm25", type=int, nargs="*", default=[1000, 10_000, 100_000], help="passages")
    parser.add_argument("--faiss", type=int, nargs="*", default=[10_000, 100_000], help="synthetic vectors")
    parser.add_argument("--real", type=int, default=20_000, help="passages of the collections at most; 0: none")
    parser.add_argument("--work", type=Path, help="work folder of retrieval_quality.py, to take vectors from")
    parser.add_argument("--encode", type=int, default=1400, help="documents by precision at most; 0: none")
    parser.add_argument("--collection", default="cranfield", help="collection for the precisions (default: cranfield)")
    parser.add_argument("--queries", type=int, default=20, help="queries of BM25; FAISS takes ten times as many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    figures: dict[str, Any] = {}

    def keep(name: str, rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
        figures[name] = rows
        print(f"\n{name}\n{table(rows, columns)}", flush=True)
        if args.out:
            args.out.write_text(json.dumps(figures, indent=2))

    if args.bm25:
        rows = [stores_bm25.measure(passages, args.queries, args.repeats) for passages in args.bm25]
        keep("bm25 against rank_bm25", rows, ("passages", "ratio", "largest_gap", "bytes", "seconds"))
    kinds = ("passages", "kind", "faster", "faster_in_batches", "recall@10", "recall@100", "build_seconds", "bytes")
    for passages in args.faiss:
        vectors = stores_faiss.clustered(passages, 10 * args.queries)
        keep(f"faiss kinds, {passages} synthetic vectors", stores_faiss.measure(*vectors, args.repeats), kinds)
    folders = [args.data / name for name in SETS if (args.data / name).is_dir()] if args.data else []
    if folders and args.real:
        vectors = stores_faiss.real(folders, args.real, 10 * args.queries, args.work)
        keep("faiss kinds, vectors of real passages", stores_faiss.measure(*vectors, args.repeats), kinds)
    if folders and args.encode:
        rows = stores_encoder.measure(args.data / args.collection, args.encode, args.repeats)
        keep("encoder by precision", rows, ("dtype", "faster", "texts_per_second", "ndcg@10", "set"))


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows as a Markdown table."""

    def cell(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
        if isinstance(value, float):
            return f"{value:.4g}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = [columns, ["---"] * len(columns), *([cell(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
