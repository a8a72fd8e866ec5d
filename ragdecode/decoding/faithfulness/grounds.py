"""The evidence of one request, cut into sentences, with its words looked up fast."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragdecode.text.sentences import sentence_spans
from ragdecode.text.words import Word, words_of

#: Weight of words that the evidence does not have is that of one that it has once; this is the least weight.
_LEAST = 0.05


@dataclass(frozen=True)
class Unit:
    """A sentence of a passage.

    Attributes:
        passage: Which passage, counted from 0.
        start: Offset of its first character in the passage.
        end: Offset after its last.
    """

    passage: int
    start: int
    end: int


class Grounds:
    """The words of passages, by passage and sentence.

    Args:
        passages: Their texts.

    Attributes:
        units: Their sentences, passage by passage.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._texts = passages
        self.units: list[Unit] = []
        self._holders: dict[str, set[int]] = defaultdict(set)  # units that have a word
        self._first: dict[str, list[tuple[int, int]]] = defaultdict(list)  # (passage, place) of each word
        self._keys: list[list[str]] = []
        counts: Counter[str] = Counter()
        for place, text in enumerate(passages):
            words = words_of(text)
            self._keys.append([word.key for word in words])
            counts.update(self._keys[-1])
            for at, word in enumerate(words):
                self._first[word.key].append((place, at))
            self._add(place, sentence_spans(text), words)
        self._total = max(2, counts.total())
        self._counts = counts

    def _add(self, place: int, spans: Sequence[tuple[int, int]], words: Sequence[Word]) -> None:
        at = 0
        for start, end in spans:
            while at < len(words) and words[at].end <= end:
                if words[at].start >= start:
                    self._holders[words[at].key].add(len(self.units))
                at += 1
            self.units.append(Unit(place, start, end))

    def text(self, unit: Unit) -> str:
        """A unit's text."""
        return self._texts[unit.passage][unit.start : unit.end]

    def has(self, key: str) -> bool:
        """Whether a passage has a word."""
        return key in self._counts

    def weight(self, key: str) -> float:
        """How much a word tells: the rarer it is in the evidence, the more; from 0 to 1."""
        seen = max(1, self._counts[key])
        return max(_LEAST, math.log(self._total / seen) / math.log(self._total))

    def share(self, keys: Sequence[str]) -> float:
        """Which share of words the evidence has, by weight; at least one word."""
        weights = [self.weight(key) for key in keys]
        held = math.fsum(weight for key, weight in zip(keys, weights, strict=True) if self.has(key))
        return held / math.fsum(weights)

    def shares(self, keys: Sequence[str]) -> Mapping[int, float]:
        """Which share of words, by weight, each unit has that has any; units by their place in `units`."""
        weights = {key: self.weight(key) for key in keys}
        found: dict[int, float] = defaultdict(float)
        for key in dict.fromkeys(keys):
            for unit in self._holders.get(key, ()):
                found[unit] += weights[key]
        whole = math.fsum(weights.values())
        return {unit: min(1.0, value / whole) for unit, value in found.items()}

    def longest_run(self, keys: Sequence[str]) -> int:
        """Length of the longest run of words that a passage has in the same order, side by side."""
        best, reached = 0, dict[tuple[int, int], int]()
        for key in keys:
            reached = {(passage, at): reached.get((passage, at - 1), 0) + 1 for passage, at in self._first.get(key, ())}
            best = max([best, *reached.values()])
        return best
