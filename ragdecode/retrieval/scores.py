"""A guard against models that give too few scores, or none at all."""

from __future__ import annotations

import math

from ragdecode.errors import RunError


def checked(scores: list[float], expected: int, stage: str) -> list[float]:
    """The scores.

    Raises:
        RunError: There are more or fewer than expected, or one is not a number.
    """
    if len(scores) != expected or any(math.isnan(score) for score in scores):
        raise RunError(f"expected {expected} scores, got {scores!r:.200}", component=f"retriever {stage}")
    return scores
