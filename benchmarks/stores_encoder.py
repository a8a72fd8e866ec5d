"""Embedding rate of the default encoder by precision, with what it does to nDCG@10 on a judged collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from stores_timing import interleaved

from ragdecode.evaluation.ranking.beir import read_beir
from ragdecode.evaluation.ranking.evaluate import evaluate
from ragdecode.models.catalogue import find_model
from ragdecode.models.encoder import load_encoder

DTYPES = ("float32", "bfloat16")


def measure(folder: Path, documents: int, repeats: int) -> list[dict[str, Any]]:
    """One row a precision; documents beyond ``documents`` are left out, judged ones last."""
    collection = read_beir(folder)
    judged = {name for grades in collection.judgements.values() for name, grade in grades.items() if grade > 0}
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["_id"] not in judged)[:documents]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    names = [row["_id"] for row in rows]
    encoders = {
        dtype: load_encoder(find_model("minilm").model_copy(update={"dtype": dtype}), device="cpu") for dtype in DTYPES
    }
    samples = [texts[at : at + 64] for at in range(0, min(len(texts), 256), 64)]
    seconds = interleaved({dtype: encoder.encode for dtype, encoder in encoders.items()}, samples, repeats)
    found = []
    for dtype, encoder in encoders.items():
        asked = encoder.encode(list(collection.queries.values()), role="query")
        order = np.argsort(-(asked @ encoder.encode(texts).T), axis=1, kind="stable")[:, :100]
        rankings = {
            query: [names[at] for at in best] for query, best in zip(collection.queries, order.tolist(), strict=True)
        }
        figures = evaluate(rankings, collection.judgements, ["ndcg@10"])["ndcg@10"]
        score = float(np.mean(list(figures.values.values())))
        rate = len(samples[0]) / seconds[dtype]
        faster = seconds["float32"] / seconds[dtype]
        found.append({"dtype": dtype, "texts_per_second": rate, "faster": faster, "ndcg@10": score, "set": folder.name})
    return found
