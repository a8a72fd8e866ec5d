"""How much texts repeat themselves. Definitions as in contrastive search (Su and others, NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LONGEST = 4


def repetition(tokens: Sequence[int], n: int) -> float | None:
    """``1 - distinct n-grams / n-grams`` of one text; None where it has none."""
    grams = list(zip(*(tokens[at:] for at in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else None


def diversity(tokens: Sequence[int]) -> float | None:
    """``(1 - rep-2) (1 - rep-3) (1 - rep-4)`` of one text; None where it is shorter than four tokens."""
    found = 1.0
    for n in range(2, _LONGEST + 1):
        repeated = repetition(tokens, n)
        if repeated is None:
            return None
        found *= 1 - repeated
    return found


def summary(texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Means over texts: ``rep`` and, over all texts together, ``distinct`` n-grams, n from 1 to 4; ``diversity``."""
    rep, distinct = [], []
    for n in range(1, _LONGEST + 1):
        known = [value for value in (repetition(text, n) for text in texts) if value is not None]
        rep.append(sum(known) / len(known) if known else None)
        grams = [gram for text in texts for gram in zip(*(text[at:] for at in range(n)), strict=False)]
        distinct.append(len(set(grams)) / len(grams) if grams else None)
    diverse = [value for value in map(diversity, texts) if value is not None]
    return {"rep": rep, "distinct": distinct, "diversity": sum(diverse) / len(diverse) if diverse else None}
