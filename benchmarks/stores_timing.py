"""Timing of programs that are compared: in turns, so that what slows the machine down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

Work = TypeVar("Work")


def interleaved(
    programs: Mapping[str, Callable[[Work], object]], work: Sequence[Work], repeats: int
) -> dict[str, float]:
    """Median seconds that each program takes for a piece of work; each has done the first once beforehand."""
    for program in programs.values():
        program(work[0])
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for piece in work:
            for name, program in programs.items():
                started = time.perf_counter()
                program(piece)
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}
