"""Reward-augmented decoding and support by passages, from their definitions, in plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch


def rad(log_probs: torch.Tensor, reward: Callable[[int], float], *, k: int, beta: float, avoid: bool = False):
    """Scores [V]: ``log p + beta clamp(reward)`` on the k best tokens, minus infinity elsewhere. arXiv 2310.09520."""
    scores = torch.full_like(log_probs, -math.inf)
    for token in sorted(range(len(log_probs)), key=lambda token: -float(log_probs[token]))[:k]:
        value = min(max(reward(token), 0.0), 1.0)
        scores[token] = log_probs[token] + beta * (1.0 - value if avoid else value)
    return scores


def support(passages: Sequence[str], text: str, words: int, order: float) -> float:
    """Share of the last words of a text that the passages have, weighted by rarity, by searching them each time."""
    known = [re.findall(r"\w+", passage.lower()) for passage in passages]
    everything = [word for passage in known for word in passage]
    said = re.findall(r"\w+", text.lower())
    open_ = bool(said) and text.lower().endswith(said[-1])
    total = weights = 0.0
    for place, word in enumerate(said):
        if place < len(said) - words:
            continue
        unfinished = open_ and place == len(said) - 1

        def same(other, word=word, unfinished=unfinished):
            return other.startswith(word) if unfinished else other == word

        count = sum(map(same, everything))
        weight = math.log(1 + max(1, len(everything)) / max(1, count))
        before = said[place - 1] if place else None
        follows = any(a == before and same(b) for passage in known for a, b in pairwise(passage))
        if follows or (count and before is None):
            total += weight
        elif count:
            total += weight * (1 - order)
        weights += weight
    return total / weights if weights else 1.0
