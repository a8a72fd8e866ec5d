"""Anchors of the local intrinsic dimension, chosen and used so that no sentence meets its own source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.decoding.faithfulness.dimension import local_dimension
from ragdecode.decoding.faithfulness.features import FEWEST_ANCHORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.monitors.examples import Examples


@dataclass(frozen=True)
class Anchors:
    """States of faithful sentences.

    Attributes:
        states: Of their last tokens after three middle blocks ``[A, 3, H]``.
        groups: Their sources ``[A]``.
    """

    states: NDArray[np.float16]
    groups: NDArray[np.int64]

    def dimensions(self, states: NDArray[np.float16], groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Local intrinsic dimension of sentences ``[n, 3]``, each among the anchors of other sources than its own.

        A sentence among anchors of its own source would be nearer than any new sentence is. NaN where too few are left.
        """
        import torch

        found = np.full((len(states), self.states.shape[1]), np.nan)
        for group in np.unique(groups):
            mine, others = groups == group, self.groups != group
            if others.sum() < FEWEST_ANCHORS:
                continue
            for layer in range(self.states.shape[1]):
                queries = torch.from_numpy(states[mine, layer].astype(np.float32))
                bank = torch.from_numpy(self.states[others, layer].astype(np.float32))
                found[mine, layer] = local_dimension(queries, bank).double().numpy()
        return found


def choose_anchors(examples: Examples, most: int, seed: int = 0) -> Anchors | None:
    """Faithful sentences by chance, at most so many; None with fewer than the local dimension needs, or no states."""
    if examples.states is None:
        return None
    faithful = np.flatnonzero(examples.faithful & examples.placed)
    if len(faithful) < FEWEST_ANCHORS:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(faithful)[:most])
    return Anchors(examples.states[chosen], examples.groups[chosen])
