"""Running means of a model's predictions by the last few tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragdecode.decoding.drafter import Verified


class MeanPredictions:
    """For runs of 1 to ``longest`` tokens: the mean of the distributions that followed them, cut to the top ``k``.

    After k visits, ``new = k / (k + 1) old + 1 / (k + 1) observed`` (STAND, arXiv 2506.04708).

    Args:
        longest: Longest run.
        k: Tokens that are kept.
    """

    def __init__(self, longest: int = 3, k: int = 10) -> None:
        self._longest = longest
        self._k = k
        self._tables: dict[tuple[int, ...], tuple[int, dict[int, float]]] = {}

    def learn(self, tail: Sequence[int], verified: Verified) -> None:
        """Average in what was predicted at all fed nodes; ``tail`` ends with the token of node 0."""
        ids, log_probs = verified.top(self._k)
        contexts = [tuple(tail)[-self._longest :]]
        for token, parent in zip(verified.tokens[1:], verified.parents[1:], strict=True):
            contexts.append((*contexts[parent], token)[-self._longest :])
        for context, tokens, scores in zip(contexts, ids, log_probs, strict=False):
            seen = {token: math.exp(score) for token, score in zip(tokens, scores, strict=True) if score > -math.inf}
            for start in range(len(context)):
                self._average(context[start:], seen)

    def after(self, context: tuple[int, ...]) -> tuple[int, dict[int, float]]:
        """Length of the longest end of a context that was met, and the mean distribution there; 0 if none was."""
        for start in range(max(0, len(context) - self._longest), len(context)):
            if (met := self._tables.get(context[start:])) is not None:
                return len(context) - start, met[1]
        return 0, {}

    def _average(self, context: tuple[int, ...], seen: dict[int, float]) -> None:
        visits, old = self._tables.get(context, (0, {}))
        new = {token: prob * visits / (visits + 1) for token, prob in old.items()}
        for token, prob in seen.items():
            new[token] = new.get(token, 0.0) + prob / (visits + 1)
        best = sorted(new.items(), key=lambda item: (-item[1], item[0]))[: self._k]
        self._tables[context] = visits + 1, dict(best)
