"""Support by the passages: how many of the last words they have, in the same order, rare words first."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.scorer import Scorer, ScorerSession
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: A run of letters and digits.
_WORD = re.compile(r"\w+")
#: Beyond any character, for the end of a range of words with the same beginning.
_LAST = "\U0010ffff"


class SupportSettings(Settings):
    """Settings of support."""

    words: int = Field(default=8, ge=1, le=64)
    """How many of the last words count."""
    order: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of a word's support that it has only if the passages have it behind the same word."""


@register("scorer", "support", SupportSettings)
class Support(Scorer):
    """Which share of the last words the passages have, weighted by how rare a word is in them.

    A word that the passages have counts ``1 - order``, one that they have behind the same word counts 1. The last word
    may be unfinished: it counts as the words that begin so. A word's weight is the logarithm of how many words of the
    passages there are for each time that it occurs. It reads words and not meaning: a paraphrase counts as unsupported.
    """

    def start(self, request: Request) -> ScorerSession | None:
        """Index the words of the target's passages.

        Raises:
            InputError: The request cannot turn tokens into text.
        """
        view = request.views["with_context"]
        if not view.evidence:
            return None
        if request.detokenize is None:
            raise InputError("the scorer 'support' compares words: the request cannot turn tokens into text")
        texts = [request.detokenize(view.prompt[one.start : one.stop]) for one in view.evidence]
        return SupportSession(texts, self.settings, request.detokenize)


class SupportSession(ScorerSession):
    """Support by given texts.

    Args:
        texts: The passages.
        settings: What counts.
        detokenize: Token ids to text.
    """

    def __init__(
        self, texts: Sequence[str], settings: SupportSettings, detokenize: Callable[[Sequence[int]], str]
    ) -> None:
        self._settings = settings
        self._detokenize = detokenize
        self.last = 8 * settings.words  # words of more than eight tokens count in part
        passages = [_WORD.findall(text.lower()) for text in texts]
        self._counts = Counter(word for words in passages for word in words)
        self._total = max(1, self._counts.total())
        self._pairs = {pair for words in passages for pair in pairwise(words)}
        self._sorted = sorted(word for words in passages for word in words)
        self._sorted_pairs = sorted(f"{one} {other}" for one, other in self._pairs)

    def score(self, paths: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        """Supported share of the last words ``[N][k]``; 1 where there is no word yet."""
        return [
            [self.support([*path, token], cut=len(path) >= self.last) for token in tokens]
            for path, tokens in zip(paths, candidates, strict=True)
        ]

    def support(self, tokens: Sequence[int], *, cut: bool = False) -> float:
        """Supported share of the last words of a text, from 0 to 1; ``cut`` if it may begin inside a word."""
        text = self._detokenize(tokens).lower()
        words = _WORD.findall(text)
        open_ = bool(words) and text.endswith(words[-1])
        first = max(int(cut), len(words) - self._settings.words)
        supported = weights = 0.0
        for place in range(first, len(words)):
            word, before = words[place], words[place - 1] if place else None
            if open_ and place == len(words) - 1:
                weight, found = self._unfinished(word, before)
            else:
                weight = self._weight(self._counts[word])
                found = self._found(word in self._counts, (before, word) in self._pairs, before)
            supported += weight * found
            weights += weight
        return supported / weights if weights else 1.0

    def _weight(self, count: int) -> float:
        return math.log(1 + self._total / max(count, 1))

    def _found(self, alone: bool, behind: bool, before: str | None) -> float:
        if behind or (alone and before is None):
            return 1.0
        return 1.0 - self._settings.order if alone else 0.0

    def _unfinished(self, word: str, before: str | None) -> tuple[float, float]:
        """Weight and support of a word that may go on."""
        count = bisect_left(self._sorted, word + _LAST) - bisect_left(self._sorted, word)
        pair = f"{before} {word}"
        at = bisect_left(self._sorted_pairs, pair)
        behind = before is not None and at < len(self._sorted_pairs) and self._sorted_pairs[at].startswith(pair)
        return self._weight(count), self._found(count > 0, behind, before)
