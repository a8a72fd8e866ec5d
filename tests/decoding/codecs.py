"""Vocabularies for tests: hand-made tables over tiny alphabets."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

ALPHABET = [*b"abcdefgh .\n", *"é🍰".encode()]


class TableCodec:
    """A tokenizer that takes the longest token that fits, from the left."""

    def __init__(self, tokens: Sequence[bytes | None]) -> None:
        self.tokens = list(tokens)
        self._ids = {token: id_ for id_, token in enumerate(self.tokens) if token}
        self._sizes = sorted({len(token) for token in self._ids}, reverse=True)

    def encode(self, text: str) -> list[int]:
        left, ids = text.encode(), []
        while left:
            token = next((left[:size] for size in self._sizes if left[:size] in self._ids), None)
            if token is None:
                return []  # a tokenizer without that byte would write "unknown"
            ids.append(self._ids[token])
            left = left[len(token) :]
        return ids


def random_vocabulary(size: int, seed: int, *, bytes_too: bool = True) -> Vocabulary:
    """Control tokens, the alphabet's bytes (as a whole, or without those of the wide characters), random words."""
    rng = random.Random(seed)
    alphabet = [bytes([byte]) for byte in dict.fromkeys(ALPHABET) if bytes_too or byte < 128]
    words: dict[bytes, None] = {}
    while len(words) < size - 3 - len(alphabet):
        word = "".join(rng.choices("abcdefgh .é🍰", k=rng.randrange(2, 4))).encode()
        words[word] = None
    tokens = [*alphabet, *words]
    rng.shuffle(tokens)
    return Vocabulary(TableCodec([None, None, None, *tokens]))


def fixed_width_vocabulary(size: int, seed: int) -> Vocabulary:
    """Every token two letters, no two alike, none for control: any text has one reading only."""
    rng = random.Random(seed)
    tokens = [bytes([97 + place // 26, 97 + place % 26]) for place in range(size)]
    rng.shuffle(tokens)
    return Vocabulary(TableCodec(tokens))
