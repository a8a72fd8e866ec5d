"""The memory of one request: what the model computed at each token of its passages. Small, so that search is exact.

Shapes: Q queries, k neighbours, W numbers of a key, n entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.decoding.knn.neighbours import Neighbours, precise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: candidates beyond those asked for: rounding may change the order of keys that are almost equally far
_SPARE = 32
#: tokens before an entry and behind it that are told of its place
_BEFORE, _BEHIND = 12, 6


@dataclass(frozen=True)
class Stretch:
    """Consecutive entries of one passage.

    Attributes:
        tokens: The passage's tokens.
        first: Which of them has the first key.
        keys: What the model computed there and at the tokens behind it ``[m, W]``.
        name: What names the passage, as plain data.
    """

    tokens: Sequence[int]
    first: int
    keys: torch.Tensor
    name: dict[str, Any]


class PassageStore:
    """Keys of passages with the tokens that follow them.

    Args:
        stretches: At least one, none of them empty.
    """

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = list(stretches)
        self.keys = torch.cat([one.keys for one in stretches])  # [n, W]
        self.keys = self.keys.to(precise(self.keys))
        self._norms = (self.keys * self.keys).sum(dim=-1)
        values = [one.tokens[one.first + 1 : one.first + 1 + len(one.keys)] for one in stretches]
        self.values = torch.tensor([token for own in values for token in own], device=self.keys.device)
        self._starts = [0]
        for one in stretches:
            self._starts.append(self._starts[-1] + len(one.keys))
        if len(self.values) != len(self.keys):
            raise ValueError(f"{len(self.keys)} keys, but {len(self.values)} tokens that follow")

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: torch.Tensor, k: int) -> Neighbours:
        """The nearest k entries of queries ``[Q, W]``, fewer if there are fewer.

        A matrix product finds candidates; their distances are then computed from the keys, query by query.
        """
        asked = queries.to(self.keys)
        k = min(k, len(self))
        if k + _SPARE < len(self):
            # |q|^2 is the same for all keys
            rough = torch.addmm(self._norms.unsqueeze(0), asked, self.keys.T, alpha=-2.0)
            rows = rough.topk(k + _SPARE, dim=1, largest=False).indices.sort(dim=1).values
        else:
            rows = torch.arange(len(self), device=asked.device).expand(len(asked), -1)
        far = self._distances(asked, rows)
        order = far.sort(dim=1, stable=True).indices[:, :k]  # equally far ones in order of their rows
        rows = rows.gather(1, order)
        return Neighbours(rows, far.gather(1, order), self.values[rows])

    def _distances(self, queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Squared distances of queries ``[Q, W]`` to entries ``[Q, n]``."""
        apart = self.keys[rows] - queries[:, None]  # [Q, n, W]
        return (apart * apart).sum(dim=-1)

    def apart(self, queries: int, k: int) -> NDArray[np.floating]:
        """Squared distances of so many of its own keys, evenly spread, to the nearest k others ``[Q, k]``."""
        count = min(queries, len(self))
        own = torch.arange(count, device=self.keys.device) * len(self) // count
        found = self.search(self.keys[own], min(k + 1, len(self)))
        # itself is not a neighbour; where another key is the same, which of the two is left out does not matter
        far = torch.where(found.rows == own[:, None], torch.inf, found.distances)
        nearest: NDArray[np.floating] = far.sort(dim=1).values[:, : max(1, found.rows.shape[1] - 1)].cpu().numpy()
        return nearest

    def places(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Where entries stand: the passage, the place of the token that follows, and the tokens around it."""
        found = []
        for row in rows:
            at = next(index for index, stop in enumerate(self._starts[1:]) if row < stop)
            one = self._stretches[at]
            token = one.first + row - self._starts[at] + 1
            found.append(
                {
                    **one.name,
                    "token": token,
                    "before": list(one.tokens[max(0, token - _BEFORE) : token]),
                    "behind": list(one.tokens[token : token + _BEHIND]),
                }
            )
        return found
