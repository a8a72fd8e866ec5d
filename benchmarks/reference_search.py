"""The same searches by other programs, called directly: what a retriever of ours must agree with.

Everything here sees texts and words only; no index of ours is used.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: scores of the documents found, by id
Scores = dict[str, float]


def by_bm25s(
    ids: Sequence[str], words: Sequence[list[str]], asked: Sequence[list[str]], depth: int, **settings: Any
) -> list[Scores]:
    """bm25s over documents and queries given as words."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
    model = bm25s.BM25(method="bm25+", backend="numpy", **settings)
    model.index(list(words), show_progress=False)
    known = [[word for word in query if word in model.vocab_dict] for query in asked]
    rows, scores = model.retrieve(known, k=min(depth, len(ids)), show_progress=False)
    return [
        {ids[row]: float(score) for row, score in zip(found, values, strict=True)}
        for found, values in zip(rows, scores, strict=True)
    ]


def by_rank_bm25(
    ids: Sequence[str], words: Sequence[list[str]], asked: Sequence[list[str]], depth: int, **settings: Any
) -> list[Scores]:
    """rank_bm25 over documents and queries given as words."""
    import numpy as np
    import rank_bm25

    model = rank_bm25.BM25Plus(list(words), **settings)
    found = []
    for query in asked:
        scores = model.get_scores(query)
        best = np.argsort(-scores, kind="stable")[:depth]
        found.append({ids[row]: float(scores[row]) for row in best})
    return found


def by_sentence_transformers(
    model: Path,
    max_tokens: int,
    ids: Sequence[str],
    texts: Sequence[str],
    asked: Sequence[str],
    depth: int,
    cache: Path,
) -> list[Scores]:
    """``semantic_search`` of sentence-transformers over its own vectors of length 1.

    Args:
        model: Folder of the sentence encoder.
        max_tokens: Where texts are cut.
        ids: Of the documents.
        texts: Of the documents.
        asked: The queries.
        depth: Documents to find.
        cache: Folder where the documents' vectors are kept from run to run.
    """
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer, util

    encoder = SentenceTransformer(str(model), device="cpu")
    encoder.max_seq_length = max_tokens
    encode: Callable[[list[str]], Any] = lambda some: encoder.encode(  # noqa: E731
        some, batch_size=32, normalize_embeddings=True, show_progress_bar=False
    )
    key = hashlib.sha256("\0".join([str(max_tokens), model.name, *texts]).encode()).hexdigest()[:16]
    file = cache / f"{key}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, encode(list(texts)), allow_pickle=False)
    vectors = torch.from_numpy(np.load(file, allow_pickle=False))
    queries = torch.from_numpy(encode(list(asked)))
    found = util.semantic_search(queries, vectors, top_k=depth, score_function=util.dot_score)
    return [{ids[int(hit["corpus_id"])]: float(hit["score"]) for hit in hits} for hits in found]
