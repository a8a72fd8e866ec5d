"""The score matrix of BM25, computed with arrays and written in the format of bm25s.

bm25s scores every word of every passage when an index is built (Lù, "BM25S", arXiv 2407.03618), so that a query only
sums columns. Its own builder keeps the corpus as lists of Python numbers; here the same numbers are computed in pieces,
in memory that does not grow with the corpus. The tests compare both bit by bit, and load the files with bm25s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.indexing.vectors.embedding import new_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.stores.bm25 import Bm25Settings

    #: words of passages one after the other, as numbers, and how many each passage has
    Piece = tuple[NDArray[np.int32], NDArray[np.int32]]

#: the names of bm25s
DATA, INDICES, STARTS = "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy"
ABSENT, VOCABULARY, PARAMETERS = "nonoccurrence_array.index.npy", "vocab.index.json", "params.index.json"
#: largest score of each word; ours
MAXIMA = "maxima.npy"
_ENTRIES = "entries.tmp"

#: word frequency of documents, their number -> inverse document frequency, as bm25s defines it for the variant
IDF: Mapping[str, Callable[[int, int], float]] = {
    "bm25+": lambda frequency, total: math.log((total + 1) / frequency),
    "lucene": lambda frequency, total: math.log(1 + (total - frequency + 0.5) / (frequency + 0.5)),
}


def write_matrix(folder: Path, pieces: Iterable[Piece], vocabulary: Mapping[str, int], settings: Bm25Settings) -> None:
    """Write the matrix of passages and words, column by column.

    Args:
        folder: Where its files go.
        pieces: All passages in order; the words of ``vocabulary`` are complete when they have run out.
        vocabulary: Number of each word, from 0.
        settings: Variant and parameters.

    Raises:
        OSError: The disk is full.
    """
    import numpy as np

    spilled = folder / _ENTRIES
    frequencies, lengths, sizes = _spill(spilled, pieces)
    if not len(frequencies):
        return
    starts = np.zeros(len(frequencies) + 1, np.int64)
    np.cumsum(frequencies, out=starts[1:])
    distinct, places = np.unique(frequencies, return_inverse=True)
    exact = np.array([IDF[settings.variant](int(value), len(lengths)) for value in distinct])[places]
    absent = (exact * settings.delta).astype(np.float32)
    idf = exact.astype(np.float32)
    data = new_array(folder / DATA, "float32", (int(starts[-1]),))
    indices = new_array(folder / INDICES, "int32", (int(starts[-1]),))
    heads = starts[:-1].copy()
    average = lengths.mean()
    for words, rows, counts in _read(spilled, sizes):
        first = np.flatnonzero(np.diff(words, prepend=-1))  # where each word's run begins
        runs = np.diff(first, append=len(words))
        at = np.repeat(heads[words[first]] - first, runs) + np.arange(len(words))
        heads[words[first]] += runs
        indices[at] = rows
        scores = idf[words] * _saturated(settings, counts.astype(np.float32), lengths[rows], average)
        data[at] = scores - absent[words] if settings.variant == "bm25+" else scores
    spilled.unlink()
    np.save(folder / MAXIMA, np.maximum.reduceat(data, starts[:-1]), allow_pickle=False)
    data.flush()
    indices.flush()
    np.save(folder / STARTS, starts, allow_pickle=False)
    if settings.variant == "bm25+":
        np.save(folder / ABSENT, absent, allow_pickle=False)
    (folder / VOCABULARY).write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    parameters = {
        **{"k1": settings.k1, "b": settings.b, "delta": settings.delta},
        **{"method": settings.variant, "idf_method": settings.variant, "dtype": "float32", "int_dtype": "int32"},
        **{"num_docs": len(lengths), "version": version("bm25s"), "backend": "numpy"},
    }
    (folder / PARAMETERS).write_text(json.dumps(parameters, indent=4), encoding="utf-8")


def _saturated(
    settings: Bm25Settings, counts: NDArray[np.float32], lengths: NDArray[np.int32], average: float
) -> NDArray[np.float64]:
    """What a word that occurs so often is worth in a passage of that length, before its idf ``[m]``."""
    k1, b = settings.k1, settings.b
    norms = k1 * (1 - b + b * lengths / average)
    if settings.variant == "lucene":
        return counts / (norms + counts)
    return (k1 + 1) * counts / (norms + counts) + settings.delta


def _spill(file: Path, pieces: Iterable[Piece]) -> tuple[NDArray[np.int64], NDArray[np.int32], list[int]]:
    """Write (word, row, count) of each piece, ordered by word and row, to a file.

    Returns:
        Passages that have each word ``[words]``, length of each passage ``[n]``, entries of each piece.
    """
    import numpy as np

    frequencies = np.zeros(0, np.int64)
    lengths: list[NDArray[np.int32]] = []
    sizes: list[int] = []
    row = 0
    with file.open("wb") as stream:
        for words, counts in pieces:
            keys = words.astype(np.int64) << 32
            keys |= np.repeat(np.arange(row, row + len(counts)), counts)
            keys.sort()
            first = np.flatnonzero(np.diff(keys, prepend=-1))
            keys, repeats = keys[first], np.diff(first, append=len(keys))
            found = (keys >> 32).astype(np.int32)
            for column in (found, (keys & 0xFFFFFFFF).astype(np.int32), repeats.astype(np.int32)):
                column.tofile(stream)
            held = np.bincount(found)
            frequencies = np.pad(frequencies, (0, max(0, len(held) - len(frequencies))))
            frequencies[: len(held)] += held
            lengths.append(counts)
            sizes.append(len(found))
            row += len(counts)
    return frequencies, np.concatenate(lengths), sizes


def _read(file: Path, sizes: list[int]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]:
    import numpy as np

    with file.open("rb") as stream:
        for size in sizes:
            words, rows, counts = (np.fromfile(stream, np.int32, size) for _ in range(3))
            yield words, rows, counts
