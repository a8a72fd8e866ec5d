"""Candidates for the nearest keys by comparing with all: one matrix product a block of keys, on any device.

Shapes: Q queries, W numbers a key, N keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: keys compared at once, and queries
_KEYS, _QUERIES = 8192, 1024
#: keys compared at once where they stay on an accelerator
_KEYS_THERE = 1 << 17


class Blocked:
    """Squared distances to all keys as ``|q|^2 + |k|^2 - 2 q k``, block by block, the best kept on the way.

    Rounding may change the order of keys that are almost equally far: ask for a few more than are wanted, and compare
    these by what they are.

    Args:
        keys: ``[N, W]`` at half precision, mapped from disk.
        norms: Squared length of each key ``[N]``.
        device: Where products are computed. Beside the CPU, keys are held there from the first search on if they fit
            into half of the free memory; else they are brought there block by block.
    """

    def __init__(
        self, keys: NDArray[np.float16], norms: NDArray[np.float32], device: str | torch.device = "cpu"
    ) -> None:
        self._keys, self._norms = torch.from_numpy(keys), torch.from_numpy(norms)
        self._device = torch.device(device)
        self._held: torch.Tensor | None = None
        self._tried = self._device.type == "cpu"

    def find(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows of the nearest ``count`` keys of each query ``[Q, count]``, nearest first; not more than there are."""
        asked = torch.from_numpy(queries)
        found = [self._search(part.to(self._device), count).cpu() for part in asked.split(_QUERIES)]
        rows: NDArray[np.int64] = torch.cat(found).numpy()
        return rows

    @torch.inference_mode()
    def _search(self, queries: torch.Tensor, count: int) -> torch.Tensor:
        keys = self._resident()
        block = _KEYS if keys.device.type == "cpu" else _KEYS_THERE
        scratch = torch.empty((min(block, len(keys)), keys.shape[1]), dtype=torch.float32, device=self._device)
        best = queries.new_empty((len(queries), 0))
        rows = torch.empty((len(queries), 0), dtype=torch.long, device=self._device)
        for first in range(0, len(keys), block):
            part = scratch[: len(keys) - first]
            part.copy_(keys[first : first + block])
            norms = self._norms[first : first + block].to(self._device)
            # |q|^2 is the same for all keys
            apart = torch.addmm(norms.unsqueeze(0), queries, part.T, alpha=-2.0)  # [Q, block]
            near, at = apart.topk(min(count, len(part)), dim=1, largest=False)
            best, rows = torch.cat([best, near], dim=1), torch.cat([rows, at + first], dim=1)
            best, order = best.topk(min(count, best.shape[1]), dim=1, largest=False)
            rows = rows.gather(1, order)
        return rows

    def _resident(self) -> torch.Tensor:
        """The keys, on the device if they fit."""
        if not self._tried:
            self._tried = True
            if self._keys.nbytes < _free(self._device) // 2:
                self._held = self._keys.to(self._device)
        return self._keys if self._held is None else self._held


def _free(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    free: Any = torch.cuda.mem_get_info(device)[0]
    return int(free)
