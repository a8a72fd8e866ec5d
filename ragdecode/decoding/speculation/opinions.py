"""What a view predicted at the nodes that were looked at, kept to judge the drafts of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragdecode.decoding.drafter import Draft

if TYPE_CHECKING:
    import torch


class Opinions:
    """Estimated acceptance of every token after each node that was looked at in a step; it stays on the device."""

    def __init__(self) -> None:
        self._tables: list[torch.Tensor] = []
        self._rows: dict[tuple[int, ...], int] = {}  # path -> row of all tables together
        self._size = 0

    def __contains__(self, path: tuple[int, ...]) -> bool:
        return path in self._rows

    def clear(self) -> None:
        """Forget everything: the next step begins elsewhere."""
        self._tables, self._rows, self._size = [], {}, 0

    def add(self, paths: Sequence[tuple[int, ...]], acceptance: torch.Tensor) -> None:
        """Keep the estimates after some paths ``[F, V]``."""
        self._rows.update((path, self._size + row) for row, path in enumerate(paths))
        self._tables.append(acceptance)
        self._size += len(paths)

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """Estimates for a draft's nodes, read from the device at once.

        Returns:
            For each node the estimated acceptance, given its parent, and its rank among all tokens there (0 is the
            best); None where the parent was not looked at.
        """
        import torch

        paths: list[tuple[int, ...]] = []
        known: list[tuple[int, int, int]] = []  # node, row, token
        for index, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            above = () if parent < 0 else paths[parent]
            paths.append((*above, token))
            row = self._rows.get(above)
            if row is not None and 0 <= token < self._tables[0].shape[-1]:
                known.append((index, row, token))
        told: list[tuple[float, int] | None] = [None] * len(paths)
        if known:
            acceptance = torch.cat(self._tables)
            rows = torch.tensor([row for _, row, _ in known], device=acceptance.device)
            tokens = torch.tensor([token for *_, token in known], device=acceptance.device)
            values = acceptance[rows, tokens]  # [M]
            ranks = (acceptance[rows] > values[:, None]).sum(dim=-1)  # [M]
            both = torch.stack([values, ranks.to(values)]).tolist()
            for (index, *_), value, rank in zip(known, *both, strict=True):
                told[index] = value, int(rank)
        return told
