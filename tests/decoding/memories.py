"""A memory in a list, for tests of what asks memories."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from tests.reference.knn_lm import neighbours


class ListMemory:
    """Texts whose keys are given, searched one by one.

    Args:
        blocks: Keys of each text, from place ``context - 1`` on.
        texts: Token ids of each.
        context: Tokens of a text that its first key has read.
        facts: What it says of itself, where that is not the truth.
    """

    def __init__(self, blocks: Sequence[np.ndarray], texts: Sequence[Sequence[int]], context: int, **facts) -> None:
        self.blocks, self.texts, self.context = list(blocks), [list(text) for text in texts], context
        self.keys = np.concatenate(self.blocks)
        self.tokens = [token for text in texts for token in text[context:]]
        self.starts = [0, *np.cumsum([len(block) for block in self.blocks]).tolist()]
        self.facts = {"model": "tiny", "tokenizer": "letters", "dtype": "float64", "key": "ffn_input"} | facts
        self.searches = 0

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries, k, leave_out=None):
        self.searches += 1
        rows, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf)
        for at, query in enumerate(queries):
            known = [row for row in range(len(self)) if leave_out is None or row not in leave_out[at]]
            found, far = neighbours(self.keys[known], query, k)
            rows[at, : len(found)], distances[at, : len(found)] = [known[row] for row in found], far
        return SimpleNamespace(rows=rows, distances=distances, values=self.values(rows))

    def distances(self, queries, rows):
        return ((self.keys[np.maximum(rows, 0)].astype(np.float64) - queries[:, None]) ** 2).sum(-1)

    def values(self, rows):
        return np.where(rows < 0, -1, np.array(self.tokens)[np.maximum(rows, 0)])

    def own_keys(self, rows):
        return self.keys[rows].astype(np.float32)

    def following(self, rows):
        return np.where((rows < 0) | np.isin(rows + 1, self.starts[1:]), -1, rows + 1)

    def places(self, rows):
        found = []
        for row in rows:
            text = int(np.searchsorted(self.starts, row, side="right")) - 1
            token = row - self.starts[text] + self.context
            found.append(SimpleNamespace(source=f"doc{text}", record="", document=text, token=token))
        return found

    def around(self, row, before, behind):
        [place] = self.places([row])
        text = self.texts[place.document]
        return text[max(0, place.token - before) : place.token], text[place.token : place.token + behind]

    def of_sources(self, sources):
        from ragdecode.errors import InputError

        names = [f"doc{text}" for text in range(len(self.texts))]
        if missing := set(sources) - set(names):
            raise InputError(f"no document of the memory is of {', '.join(map(repr, sorted(missing)))}")
        return [range(self.starts[at], self.starts[at + 1]) for at, name in enumerate(names) if name in sources]
