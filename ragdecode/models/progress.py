"""How long work on weights tells what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances; must be cheap and must not raise."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``stage`` has done ``done`` of ``total`` units (0: unknown)."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
