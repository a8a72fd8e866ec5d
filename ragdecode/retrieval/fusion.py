"""The contract of fusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ragdecode.indexing.hit import Hit


class Fusion(Protocol):
    """A part of kind ``fusion``, built as ``cls(settings)``."""

    def fuse(self, lists: Mapping[str, list[Hit]]) -> dict[str, float]:
        """One score for every passage in any of the lists.

        Args:
            lists: Ranked hits, best first, by name of the store that gave them.

        Returns:
            Score by passage id, larger is better.
        """
        ...

    def check(self, stores: tuple[str, ...]) -> None:
        """Refuse, with an `InputError`, settings that do not fit the stores to be fused."""
        ...
