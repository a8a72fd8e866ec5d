"""A sentence encoder without weights, for measurements of everything around the encoder."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class HashedEncoder:
    """Counts of words by their checksum: deterministic, and as cheap as an encoder can be.

    Args:
        dimension: Length of the vectors.
        seconds: Time that a text takes, slept.
    """

    fingerprint = "hashed-words"

    def __init__(self, dimension: int = 384, seconds: float = 0.0) -> None:
        self.dimension = dimension
        self.encoded = 0
        self._seconds = seconds

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Vectors ``[len(texts), dimension]``; each depends on all texts of its batch in its last bits."""
        self.encoded += len(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            places = [zlib.crc32(word.encode()) % self.dimension for word in text.split()]
            np.add.at(vectors[row], places, 1.0)
        if self._seconds:
            time.sleep(self._seconds * len(texts))
        if role == "document":  # as the sums of a real encoder do, which pads texts to the longest of them
            vectors += np.float32(zlib.crc32("\n".join(texts).encode()) / 2**52)
        return vectors


def word_offsets(text: str) -> list[tuple[int, int]]:
    """Words as tokens: character offsets."""
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
