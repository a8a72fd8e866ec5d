"""What a grounding space says about the next token: windows like the present one, and their predictions mixed.

*CAAD: Context-Aware Adaptive Decoding for Truthful Text Generation*, arXiv 2508.02184; in its second version called
RAD, Retrieval-Augmented Decoding. Shapes: N nodes, A entries taken, R tokens kept of a prediction, V vocabulary.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.grounding.space import GroundingSpace

#: windows whose entries are remembered
_KEPT = 4096

#: Texts to vectors of length 1 ``[n, D]``.
Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]


@dataclass(frozen=True)
class Taken:
    """The entries that a window is like.

    Attributes:
        rows: Entries, the most similar first ``[A]``.
        weights: Their shares, which sum to 1 ``[A]``.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


class Guide:
    """Finds entries for windows of text; a window that was asked for before costs nothing.

    Args:
        space: The entries.
        encode: The space's encoder.
        threshold: Entries count whose cosine is above.
        most: Entries that count at most.
        even: Whether all that count do so alike, in place of in proportion to their cosines.
    """

    def __init__(self, space: GroundingSpace, encode: Encode, threshold: float, most: int, even: bool) -> None:
        self._space, self._encode = space, encode
        self._keys = space.keys.astype(np.float32)
        self._threshold, self._most, self._even = threshold, most, even
        self._known: OrderedDict[str, Taken] = OrderedDict()

    def find(self, windows: Sequence[str]) -> list[Taken]:
        """Entries for each window; all that are not known are encoded together."""
        missing = [text for text in dict.fromkeys(windows) if text not in self._known]
        fresh: dict[str, Taken] = {}
        if missing:
            vectors = np.asarray(self._encode(missing), np.float32)
            # one product a window: what is found does not depend on what else is asked
            fresh = {text: self._taken(self._keys @ vector) for text, vector in zip(missing, vectors, strict=True)}
        found = []
        for text in windows:
            taken = fresh.get(text) or self._known[text]
            self._known[text] = taken
            self._known.move_to_end(text)
            found.append(taken)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    def _taken(self, cosines: NDArray[np.float32]) -> Taken:
        rows = np.flatnonzero(cosines > self._threshold)
        rows = rows[np.argsort(-cosines[rows], kind="stable")[: self._most]]
        weights = np.ones(len(rows)) if self._even else cosines[rows].astype(np.float64)
        return Taken(rows, weights / weights.sum() if len(rows) else weights)


class Predictions:
    """The predictions of a space as tensors, mixed on demand.

    Args:
        space: The entries.
        device: Where mixtures are computed.
    """

    def __init__(self, space: GroundingSpace, device: torch.device | str) -> None:
        self._tokens = torch.from_numpy(space.tokens.astype(np.int64)).to(device)
        self._log_probs = torch.from_numpy(space.log_probs).to(device)
        self._rest = torch.from_numpy(space.rest).to(device)

    def mixed(self, taken: Sequence[Taken], like: torch.Tensor) -> torch.Tensor:
        """``sum_i w_i log p_i`` for each of N windows ``[N, V]``, shaped like ``like``; 0 where nothing was taken."""
        most = max(len(one.rows) for one in taken)
        rows = np.zeros((len(taken), most), np.int64)
        weights = np.zeros((len(taken), most))
        for at, one in enumerate(taken):
            rows[at, : len(one.rows)], weights[at, : len(one.rows)] = one.rows, one.weights
        places = torch.from_numpy(rows).to(like.device)
        share = torch.from_numpy(weights).to(like)  # [N, A]
        rest = self._rest.to(like.dtype)[places]  # [N, A]
        table = (share * rest).sum(dim=1, keepdim=True).expand_as(like).clone()
        above = share.unsqueeze(-1) * (self._log_probs[places].to(like.dtype) - rest.unsqueeze(-1))  # [N, A, R]
        tokens = self._tokens[places].flatten(1)
        there = tokens < like.shape[-1]  # views beside the target may know fewer tokens
        return table.scatter_add_(1, tokens.where(there, 0), above.flatten(1).where(there, 0.0))
